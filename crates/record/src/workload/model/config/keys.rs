//! A config.json, to be asked for one key after the other. Every error names its key.

use serde_json::Value;

/// The largest number that a file may give as a size: above any model's, and so small that sums of a few do not overflow.
const MOST: usize = 1 << 40;

/// The object that is asked, and the path to it for messages (`rope_scaling.`), empty for the file itself.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    value: &'a Value,
    path: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of the file.
    pub fn new(value: &'a Value) -> Self {
        Self { value, path: "" }
    }

    /// The keys of a part of the file; `path` is where it stands, with a full stop behind.
    pub fn at(value: &'a Value, path: &'a str) -> Self {
        Self { value, path }
    }

    /// The keys of the object under `key`, where there is one that is not empty; `path` is `key` with a full stop behind.
    pub fn within(&self, key: &str, path: &'a str) -> Result<Option<Keys<'a>>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(keys)) if keys.is_empty() => Ok(None),
            Some(value) if value.is_object() => Ok(Some(Keys { value, path })),
            Some(value) => Err(format!("`{}{key}` is {value}, not an object", self.path)),
        }
    }

    /// The names of all keys.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.value.as_object().into_iter().flat_map(|keys| keys.keys().map(String::as_str))
    }

    /// The value of `key`; null is as good as none, as in the Python tools.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there and null.
    pub fn is_null(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(Value::is_null)
    }

    /// The name of `key` in messages.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// A whole number that must be there, or the default.
    pub fn size(&self, key: &str, default: Option<usize>) -> Result<usize, String> {
        match (self.optional_size(key)?, default) {
            (Some(size), _) | (None, Some(size)) => Ok(size),
            (None, None) => Err(format!("`{}` is missing", self.name(key))),
        }
    }

    /// A whole number, where there is one; `300.0` is one too.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let whole = |number: &f64| *number >= 0.0 && number.fract() == 0.0 && *number < 1e15;
        let number = value.as_u64().map(|number| number as usize);
        let number = number.or(value.as_f64().filter(whole).map(|number| number as usize));
        let is_beyond = value.as_f64().is_some_and(|number| number > MOST as f64);
        match number {
            None if is_beyond => Err(format!("`{}` is {value}; no model is as large", self.name(key))),
            Some(size) if size > MOST => Err(format!("`{}` is {value}; no model is as large", self.name(key))),
            Some(size) => Ok(Some(size)),
            None => Err(format!("`{}` is {value}, not a whole number", self.name(key))),
        }
    }

    /// A list of whole numbers that must be there, none of them above a million.
    pub fn sizes(&self, key: &str) -> Result<Vec<usize>, String> {
        let value = self.get(key).ok_or_else(|| format!("`{}` is missing", self.name(key)))?;
        let size = |item: &Value| item.as_u64().map(|size| size as usize).filter(|size| *size <= 1_000_000);
        let sizes = value.as_array().map(|items| items.iter().map(size).collect::<Option<Vec<usize>>>());
        sizes.flatten().ok_or_else(|| format!("`{}` is {value}, not a list of sizes", self.name(key)))
    }

    /// A size that is at least 1 and at most `most`.
    pub fn size_within(&self, key: &str, default: Option<usize>, most: usize) -> Result<usize, String> {
        match self.size(key, default)? {
            size if (1..=most).contains(&size) => Ok(size),
            size => Err(format!("`{}` is {size}; it must be between 1 and {most}", self.name(key))),
        }
    }

    /// A number, where there is one.
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or(format!("`{}` is {value}, not a number", self.name(key)))
    }

    /// A number that must be there.
    pub fn number(&self, key: &str) -> Result<f64, String> {
        self.optional_number(key)?.ok_or_else(|| format!("`{}` is missing", self.name(key)))
    }

    /// True or false, where it is said.
    pub fn optional_flag(&self, key: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or(format!("`{}` is {value}, neither true nor false", self.name(key)))
    }

    /// The same, or the default.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        Ok(self.optional_flag(key)?.unwrap_or(default))
    }

    /// A text, where there is one.
    pub fn optional_text(&self, key: &str) -> Result<Option<&'a str>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or(format!("`{}` is {value}, not a text", self.name(key)))
    }
}

/// What to do where a checkpoint is quantized already: `how` says by what that is known.
pub fn quantized_already(how: &str) -> String {
    format!(
        "the checkpoint is quantized already ({how}); give the full-precision one, or a GGUF file of a decoder, and it is \
         quantized on load"
    )
}

/// The key and method by which a checkpoint is quantized already, where it is.
pub fn quantization(keys: &Keys<'_>) -> Option<String> {
    let (key, value) =
        ["quantization_config", "compression_config"].into_iter().find_map(|key| Some((key, keys.get(key)?)))?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    Some(match text("quant_method").or(text("quant_algo")).or(text("format")) {
        Some(method) => format!("`{key}`: {method}"),
        None => format!("`{key}`"),
    })
}

/// The error of a `quantization_config` (or `compression_config`), by the name of the method.
pub fn refuse_quantized(keys: &Keys<'_>) -> Result<(), String> {
    quantization(keys).map_or(Ok(()), |how| Err(quantized_already(&how)))
}
