//! Rotary positions as a config.json has them: `rope_theta` beside the rest or among the scaling, the scaling as
//! `rope_scaling` or `rope_parameters`, its kind as `rope_type`, `type` or both.

use super::keys::Keys;
use crate::workload::RopeScaling;

/// The base of the frequencies where none is named.
pub(super) const DEFAULT_THETA: f64 = 10_000.0;

/// Base and stretching of the rotary positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rope {
    pub theta: f64,
    pub scaling: Option<RopeScaling>,
}

/// The objects that speak of rotary positions, newest last, and their path in messages.
const OBJECTS: [(&str, &str); 2] = [("rope_scaling", "rope_scaling."), ("rope_parameters", "rope_parameters.")];

/// Reads every place; two that disagree are an error that names both, as no tool's order between them is law.
pub(super) fn rope(keys: &Keys<'_>) -> Result<Rope, String> {
    let mut theta = named_theta(keys)?;
    let mut scaling: Option<(String, Option<RopeScaling>)> = None;
    for (name, path) in OBJECTS {
        let Some(object) = keys.within(name, path)? else { continue };
        refuse_kinds(&object)?;
        if let Some((other_name, other)) = named_theta(&object)? {
            if let Some((name, value)) = theta.as_ref().filter(|(_, value)| *value != other) {
                return Err(format!("`{name}` is {value}, but `{other_name}` is {other}: one of them is wrong"));
            }
            theta = Some((other_name, other));
        }
        let found = scaling_of(&object, keys)?;
        if scaling.as_ref().is_some_and(|(_, other)| *other != found) {
            return Err(
                "`rope_scaling` and `rope_parameters` stretch positions differently: one of them is wrong".into()
            );
        }
        scaling = Some((name.to_string(), found));
    }
    Ok(Rope {
        theta: theta.map_or(DEFAULT_THETA, |(_, value)| value),
        scaling: scaling.and_then(|(_, scaling)| scaling),
    })
}

/// The base that is named first, for what only tells it.
pub(super) fn base(keys: &Keys<'_>) -> f64 {
    let within = OBJECTS.iter().filter_map(|(name, path)| keys.within(name, path).ok()?);
    let named = |keys: Keys<'_>| Some(named_theta(&keys).ok()??.1);
    std::iter::once(*keys).chain(within).find_map(named).unwrap_or(DEFAULT_THETA)
}

fn named_theta(keys: &Keys<'_>) -> Result<Option<(String, f64)>, String> {
    Ok(keys.optional_number("rope_theta")?.map(|value| (keys.name("rope_theta"), value)))
}

/// What an object asks for that no table of one base and one stretching can give.
fn refuse_kinds(object: &Keys<'_>) -> Result<(), String> {
    for kind in ["full_attention", "sliding_attention", "chunked_attention", "mrope_section"] {
        if object.get(kind).is_some() {
            return Err(format!(
                "`{}` is not supported: positions of all layers and tokens are turned alike",
                object.name(kind)
            ));
        }
    }
    match object.optional_number("partial_rotary_factor")? {
        None | Some(1.0) => Ok(()),
        Some(share) => Err(format!(
            "`{}` is {share}, which is not supported: all dimensions of a head are rotary",
            object.name("partial_rotary_factor")
        )),
    }
}

/// The kind of stretching, by either name or both.
fn kind<'a>(object: &Keys<'a>) -> Result<Option<(&'static str, &'a str)>, String> {
    match (object.optional_text("rope_type")?, object.optional_text("type")?) {
        (Some(one), Some(other)) if one != other => {
            Err(format!("`{}` is {one}, but `{}` is {other}", object.name("rope_type"), object.name("type")))
        }
        (Some(kind), _) => Ok(Some(("rope_type", kind))),
        (None, Some(kind)) => Ok(Some(("type", kind))),
        (None, None) => Ok(None),
    }
}

fn scaling_of(object: &Keys<'_>, all: &Keys<'_>) -> Result<Option<RopeScaling>, String> {
    let Some((key, kind)) = kind(object)? else {
        return match object.optional_number("factor")? {
            None | Some(1.0) => Ok(None),
            Some(factor) => Err(format!(
                "`{}` is {factor}, but `{}` is missing: how are positions stretched?",
                object.name("factor"),
                object.name("rope_type")
            )),
        };
    };
    match kind {
        "default" => Ok(None),
        "linear" => Ok(Some(RopeScaling::Linear { factor: object.number("factor")? })),
        "llama3" => {
            let key = "original_max_position_embeddings";
            let original_context = match object.optional_size(key)? {
                Some(size) => size,
                None => all.size(key, None).map_err(|_| format!("`{}` is missing", object.name(key)))?,
            };
            Ok(Some(RopeScaling::Llama3 {
                factor: object.number("factor")?,
                low_freq_factor: object.number("low_freq_factor")?,
                high_freq_factor: object.number("high_freq_factor")?,
                original_context,
            }))
        }
        other => {
            Err(format!("`{}` `{other}` is not supported; supported are default, linear and llama3", object.name(key)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rope, String> {
        rope(&Keys::new(&serde_json::from_str(text).unwrap()))
    }

    #[test]
    fn every_place_of_a_base_is_read() {
        for text in [
            r#"{"rope_theta":500000}"#,
            r#"{"rope_theta":null,"rope_scaling":{"rope_type":"default","rope_theta":500000.0}}"#,
            r#"{"rope_scaling":null,"rope_parameters":{"rope_type":"default","rope_theta":5e5}}"#,
            r#"{"rope_theta":500000.0,"rope_parameters":{"rope_theta":500000.0}}"#,
            r#"{"rope_theta":500000.0,"rope_scaling":{}}"#,
        ] {
            assert_eq!(read(text), Ok(Rope { theta: 500_000.0, scaling: None }), "{text}");
        }
        assert_eq!(read("{}"), Ok(Rope { theta: 10_000.0, scaling: None }));
        let message = read(r#"{"rope_theta":10000.0,"rope_parameters":{"rope_theta":500000.0}}"#).unwrap_err();
        assert!(message.contains("`rope_theta` is 10000, but `rope_parameters.rope_theta` is 500000"), "{message}");
        let message = read(r#"{"rope_scaling":{"rope_theta":1e6},"rope_parameters":{"rope_theta":5e5}}"#).unwrap_err();
        assert!(message.contains("`rope_scaling.rope_theta`"), "{message}");
    }

    #[test]
    fn a_stretching_is_read_by_either_name_of_its_kind() {
        for text in [
            r#"{"rope_scaling":{"type":"linear","factor":4.0}}"#,
            r#"{"rope_scaling":{"rope_type":"linear","factor":4}}"#,
            r#"{"rope_scaling":{"factor":4.0,"rope_type":"linear","type":"linear"}}"#,
            r#"{"rope_parameters":{"rope_type":"linear","factor":4.0,"rope_theta":10000.0}}"#,
        ] {
            assert_eq!(read(text).unwrap().scaling, Some(RopeScaling::Linear { factor: 4.0 }), "{text}");
        }
        for (text, words) in [
            (
                r#"{"rope_scaling":{"type":"linear","rope_type":"dynamic","factor":2.0}}"#,
                "`rope_scaling.type` is linear",
            ),
            (r#"{"rope_scaling":{"type":"dynamic","factor":2.0}}"#, "`rope_scaling.type` `dynamic`"),
            (r#"{"rope_scaling":{"factor":2.0}}"#, "`rope_scaling.rope_type` is missing"),
            (r#"{"rope_scaling":{"type":"linear"}}"#, "`rope_scaling.factor` is missing"),
            (r#"{"rope_scaling":"linear"}"#, "`rope_scaling` is \"linear\", not an object"),
            (
                r#"{"rope_parameters":{"rope_type":"llama3","factor":8.0}}"#,
                "original_max_position_embeddings` is missing",
            ),
            (r#"{"rope_parameters":{"full_attention":{"rope_theta":1e6}}}"#, "`rope_parameters.full_attention`"),
            (r#"{"rope_parameters":{"partial_rotary_factor":0.5}}"#, "`rope_parameters.partial_rotary_factor` is 0.5"),
            (
                r#"{"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"default"}}"#,
                "differently",
            ),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
