//! The text of a field, however a server shapes it: a string, parts in a list, thoughts, a call of a tool.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Keys below which a model's own words stand.
const GENERATED: [&str; 15] = [
    "content",
    "text",
    "thinking",
    "reasoning",
    "reasoning_content",
    "arguments",
    "name",
    "input",
    "refusal",
    "value",
    "function",
    "custom",
    "summary",
    "transcript",
    "parts",
];
/// Keys below which everything is the model's: arguments of a call as an object instead of a text.
const WHOLE: [&str; 2] = ["arguments", "input"];

/// Text of a field; empty where there is none.
#[derive(Debug, Default)]
pub(crate) struct FieldText<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for FieldText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Plain)
    }
}

/// Borrows a plain string, which nearly all are; gathers anything else.
struct Plain;

impl<'de> Visitor<'de> for Plain {
    type Value = FieldText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or parts of it")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(FieldText(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(FieldText(Cow::Owned(text.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(FieldText::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(FieldText::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(FieldText::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(FieldText::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(FieldText::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        let mut text = String::new();
        Gather { text: &mut text, all: false }.visit_seq(list)?;
        Ok(FieldText(Cow::Owned(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut text = String::new();
        Gather { text: &mut text, all: false }.visit_map(map)?;
        Ok(FieldText(Cow::Owned(text)))
    }
}

/// Puts the text of whatever comes behind what there is.
struct Gather<'t> {
    text: &'t mut String,
    all: bool,
}

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parts of a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text.push_str(text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Gather { text: &mut *self.text, all: self.all })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if !self.all && !GENERATED.contains(&key.as_ref()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.all {
                self.text.push_str(&key);
            }
            map.next_value_seed(Gather { text: &mut *self.text, all: self.all || WHOLE.contains(&key.as_ref()) })?;
        }
        Ok(())
    }
}

impl Gather<'_> {
    fn number(self, number: impl fmt::Display) {
        if self.all {
            self.text.push_str(&number.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FieldText;

    #[test]
    fn text_is_found_in_every_shape() {
        for (json, text) in [
            (r#""plain""#, "plain"),
            (r#""es\ncaped""#, "es\ncaped"),
            ("null", ""),
            ("3", ""),
            (r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#, "ab"),
            (r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}],"signature":"x"}]"#, "hm"),
            (r#"[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a"}}]"#, "f{\"a"),
            (r#"[{"function":{"name":"f","arguments":{"city":"Ulm","days":2}}}]"#, "fcityUlmdays2"),
            (r#"[{"index":0,"function":{"arguments":""}}]"#, ""),
            ("[]", ""),
            (r#"{"refusal":"no","id":"x"}"#, "no"),
        ] {
            let words: FieldText<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(words.0, text, "{json}");
        }
    }
}
