//! Sweeps: which cases to run and how long to measure each, one TOML file each, embedded in the binary.

use super::case::Case;
use super::input::Input;
use super::model::cache::CacheType;
use super::model::shape::ModelShape;
use super::quant::Quant;
use super::task::Task;
use crate::data_file::{DataFileError, nearest, parse_toml};
use include_dir::{Dir, include_dir};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

static WORKLOADS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../workloads");

/// The most sequences that a case may run together.
pub const MAX_BATCH: usize = 4096;

/// A set of cases with the limits of their measurement.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// What `--workload` takes.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Quantization levels; every grid runs at each.
    pub quant: Vec<Quant>,
    /// Grids of cases; a case that two grids share runs once.
    pub grid: Vec<Grid>,
    /// How long to warm up and to measure.
    pub limits: Limits,
}

/// All combinations of these values.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Sequences that run together.
    pub batch: Vec<usize>,
    /// Tokens of each prompt or text; of images, those of each of `image`, which the program fills in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompt: Vec<usize>,
    /// Tokens that each sequence generates; none for models that embed or classify.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gen_tokens: Vec<usize>,
    /// Precisions of the key-value cache: f32, f16, int8. The engine chooses where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CacheType>,
    /// Sides of images in pixels, for models that classify them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image: Vec<usize>,
}

impl Grid {
    /// What goes in and comes out, each once for every combination of lengths.
    fn inputs(&self) -> Vec<Input> {
        if !self.image.is_empty() {
            let image = |(tokens, side): (&usize, &usize)| Input::Image { side: *side, tokens: *tokens };
            return self.prompt.iter().zip(&self.image).map(image).collect();
        }
        let generated: &[usize] = if self.gen_tokens.is_empty() { &[0] } else { &self.gen_tokens };
        let of = |prompt: &usize| generated.iter().map(|tokens| Input::text(*prompt, *tokens)).collect::<Vec<_>>();
        self.prompt.iter().flat_map(of).collect()
    }

    /// The error of images that are named for a model of `task`, which takes none.
    pub(super) fn has_no_images(&self, task: Task) -> Result<(), String> {
        if self.image.is_empty() {
            Ok(())
        } else {
            Err(format!("image names sizes of images, but the model {}", task.info().does))
        }
    }

    /// Leaves out what is of generating text; the error is of caches that are named for a model of `task`, which has none.
    pub(super) fn one_pass(&mut self, task: Task) -> Result<(), String> {
        if !self.cache.is_empty() {
            return Err(format!("cache is for models that generate text, not for {}", task.name()));
        }
        self.gen_tokens.clear();
        Ok(())
    }

    fn caches(&self) -> Vec<Option<CacheType>> {
        match self.cache.as_slice() {
            [] => vec![None],
            some => some.iter().copied().map(Some).collect(),
        }
    }
}

/// When a measurement is warm, when it has enough samples, and when it must stop.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Warm up for at least this long when weights were just loaded.
    pub warmup_min_s: f64,
    /// Give up waiting for a steady state after this long, and say `unsteady`.
    pub warmup_max_s: f64,
    /// Steady means that three consecutive iterations agree within this share.
    pub warmup_tolerance: f64,
    /// Never converged before this many samples.
    pub min_samples: usize,
    /// Stop at this many samples.
    pub max_samples: usize,
    /// Never converged before this much measured time.
    pub min_time_s: f64,
    /// Stop after this much measured time, once there are 4 samples.
    pub max_time_s: f64,
    /// Converged when the half-width of the 95 % interval of the median is within this share of it.
    pub precision: f64,
    /// Give a case up as `timed_out` when an iteration has not ended by then.
    pub timeout_s: f64,
}

impl Limits {
    fn validate(&self) -> Result<(), String> {
        let positive = [
            ("warmup_max_s", self.warmup_max_s),
            ("warmup_tolerance", self.warmup_tolerance),
            ("max_time_s", self.max_time_s),
            ("precision", self.precision),
            ("timeout_s", self.timeout_s),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("{name} is {value}; it must be above 0"));
            }
        }
        for (name, value) in [("warmup_min_s", self.warmup_min_s), ("min_time_s", self.min_time_s)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("{name} is {value}; it must be 0 or more"));
            }
        }
        if self.min_samples < 4 || self.max_samples < self.min_samples {
            return Err(format!(
                "min_samples is {} and max_samples {}; at least 4 samples are needed, and no fewer at most than at least",
                self.min_samples, self.max_samples
            ));
        }
        Ok(())
    }
}

impl Sweep {
    /// Parses and checks the text of a workload file.
    pub fn parse(file: &str, text: &str) -> Result<Self, DataFileError> {
        let sweep: Sweep = parse_toml(file, text)?;
        sweep.validate().map_err(|message| {
            let key = message.split(' ').next().unwrap_or("").to_string();
            let line = text.lines().position(|l| l.trim_start().starts_with(&key));
            DataFileError { file: file.to_string(), line: 1 + line.unwrap_or(0), message }
        })?;
        Ok(sweep)
    }

    /// Checks every number; the message begins with the key that is wrong.
    pub fn validate(&self) -> Result<(), String> {
        if self.quant.is_empty() {
            return Err("quant is empty; name at least one level".to_string());
        }
        if let Some(why) = self.quant.iter().find_map(|quant| quant.runnable().err()) {
            return Err(format!("quant has a level that is not run: {why}"));
        }
        if self.grid.is_empty() {
            return Err("grid is missing; a workload needs at least one [[grid]]".to_string());
        }
        for grid in &self.grid {
            let axes = [
                ("batch", &grid.batch, MAX_BATCH),
                ("prompt", &grid.prompt, 1 << 27),
                ("gen_tokens", &grid.gen_tokens, 1 << 27),
                ("image", &grid.image, 1 << 14),
            ];
            let may_be_empty = |name: &str| match name {
                "prompt" => !grid.image.is_empty(),
                name => name != "batch",
            };
            for (name, values, most) in axes {
                if values.is_empty() && !may_be_empty(name) {
                    return Err(format!("{name} is empty; name at least one value"));
                }
                if let Some(bad) = values.iter().find(|v| **v == 0 || **v > most) {
                    return Err(format!("{name} holds {bad}; it must be between 1 and {most}"));
                }
            }
            if grid.gen_tokens.contains(&1) {
                return Err("gen_tokens holds 1; decoding can only be timed from 2 tokens".to_string());
            }
        }
        self.limits.validate()
    }

    /// The workload called `name` that the binary carries.
    pub fn named(name: &str) -> Result<Sweep, String> {
        let all = Sweep::all();
        let hint = match nearest(name, all.iter().map(|sweep| sweep.name.as_str())) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        let known: Vec<_> = all.iter().map(|sweep| sweep.name.clone()).collect();
        all.into_iter().find(|sweep| sweep.name == name).ok_or_else(|| {
            format!("there is no workload `{name}`{hint} (there are {}, or give a .toml file)", known.join(", "))
        })
    }

    /// All workloads that the binary carries.
    pub fn all() -> Vec<Sweep> {
        WORKLOADS
            .files()
            .filter_map(|file| Sweep::parse(&file.path().display().to_string(), file.contents_utf8()?).ok())
            .collect()
    }

    /// The sweep as a model of `shape` can run it: texts to embed have no tokens to generate and no more than its
    /// positions, images have its own size where none is named and tokens by their patches.
    pub fn for_model(mut self, shape: &ModelShape) -> Result<Self, String> {
        for grid in &mut self.grid {
            (shape.task().info().fit_grid)(grid, shape)?;
        }
        Ok(self)
    }

    /// The cases, each once, grouped by quantization so that weights are loaded once a level.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &quant in &self.quant {
            for grid in &self.grid {
                for input in grid.inputs() {
                    for cache in grid.caches() {
                        for &batch in &grid.batch {
                            let case = Case { quant, batch, input, cache };
                            if !cases.contains(&case) {
                                cases.push(case);
                            }
                        }
                    }
                }
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> &'static str {
        WORKLOADS.get_file("standard.toml").unwrap().contents_utf8().unwrap()
    }

    #[test]
    fn every_shipped_workload_is_sound() {
        for file in WORKLOADS.files() {
            let name = file.path().display().to_string();
            let sweep = Sweep::parse(&name, file.contents_utf8().unwrap()).unwrap();
            assert_eq!(format!("{}.toml", sweep.name), name);
            assert!(!sweep.cases().is_empty());
        }
        assert!(Sweep::named("quick").is_ok());
        assert!(Sweep::named("standart").unwrap_err().contains("did you mean `standard`"));
    }

    #[test]
    fn cases_are_grouped_by_quant_and_unique() {
        let mut sweep = Sweep::parse("s", text()).unwrap();
        sweep.quant = vec![Quant::F16, Quant::Int8];
        sweep.grid = vec![
            Grid { batch: vec![1, 4], prompt: vec![8], gen_tokens: vec![4], ..Grid::default() },
            Grid { batch: vec![4, 16], prompt: vec![8], gen_tokens: vec![4], ..Grid::default() },
        ];
        let shown: Vec<String> = sweep.cases().iter().map(Case::to_string).collect();
        assert_eq!(
            shown,
            ["f16 b1 p8 g4", "f16 b4 p8 g4", "f16 b16 p8 g4", "int8 b1 p8 g4", "int8 b4 p8 g4", "int8 b16 p8 g4"]
        );
    }

    #[test]
    fn bad_numbers_are_named_with_their_line() {
        let error = Sweep::parse("w.toml", &text().replace("precision = 0.02", "precision = -1.0")).unwrap_err();
        assert!(error.message.starts_with("precision is -1"), "{error}");
        assert!(error.line > 1);
        let error = Sweep::parse("w.toml", &text().replacen("batch = [1, 4, 16]", "batch = [0]", 1)).unwrap_err();
        assert!(error.message.starts_with("batch holds 0"), "{error}");
    }
}
