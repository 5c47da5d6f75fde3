//! Shapes: what an instance type is made of. Prices refer to them.

use super::tables::Fault;
use super::text;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What accelerators of a type are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountUnit {
    /// Whole cards, or a share of one.
    Device,
    /// Partitions of a card.
    Slice,
    /// Chips of a TPU.
    Chip,
    /// Cores of a chip: `v5p-8` has 8 cores on 4 chips.
    Core,
}

/// A row of shapes/PROVIDER.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeRow {
    /// The provider's name of the type.
    pub instance_type: String,
    /// Id in accelerators.csv; any other text is the provider's name of one that the catalog does not know.
    pub accelerator: String,
    /// How many; a fraction is a share of one.
    pub accelerator_count: Option<f64>,
    /// What is counted.
    pub count_unit: Option<CountUnit>,
    /// Id in cpus.csv, where the type always has the same CPU.
    pub cpu: String,
    /// Virtual CPUs.
    pub vcpus: Option<f64>,
    /// Memory of the host.
    pub memory_gib: Option<f64>,
    /// `x86_64` or `arm64`.
    pub arch: String,
    /// Disk that is in the price.
    pub local_disk_gib: Option<f64>,
    /// Id in sources.csv.
    pub source: String,
    /// When it was read.
    pub observed_at: Option<Date>,
    /// See instance-catalog/README.md; separated by semicolons.
    pub flags: String,
}

impl ShapeRow {
    /// A type with so many devices of an accelerator, as a list has it; sizes that are not above 0 are not known.
    pub fn listed(
        instance_type: &str,
        (accelerator, flags): (String, String),
        count: f64,
        (vcpus, memory_gib): (Option<f64>, Option<f64>),
        source: &str,
        seen: Date,
    ) -> Self {
        Self {
            instance_type: instance_type.to_string(),
            accelerator,
            accelerator_count: Some(count),
            count_unit: Some(CountUnit::Device),
            cpu: String::new(),
            vcpus: vcpus.filter(|v| *v > 0.0),
            memory_gib: memory_gib.filter(|v| *v > 0.0),
            arch: "x86_64".to_string(),
            local_disk_gib: None,
            source: source.to_string(),
            observed_at: Some(seen),
            flags,
        }
    }

    /// What is wrong with the names and numbers of the row.
    pub fn fault(&self) -> Option<Fault> {
        self.words().map(|why| ("bad_shape", why))
    }

    fn words(&self) -> Option<String> {
        for name in [&self.instance_type, &self.accelerator] {
            if let Some(why) = text::fault(name) {
                return Some(format!("`{}` {why}", text::shown(name)));
            }
        }
        let sizes = [
            ("accelerator_count", self.accelerator_count),
            ("vcpus", self.vcpus),
            ("memory_gib", self.memory_gib),
            ("local_disk_gib", self.local_disk_gib),
        ];
        for (name, value) in sizes {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Some(format!("{name} is {value}; it must be above 0, or empty"));
            }
        }
        let counted = self.accelerator_count.is_some();
        (counted == self.accelerator.is_empty())
            .then(|| "accelerator and accelerator_count must both be given, or neither".to_string())
    }
}
