//! The value of one JSON record: what stands in it twice is not decided by which is last, and what swells in memory stops.

use super::json::Fault;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// Bytes of memory that one record may take: the lists of a hundred thousand requests fit.
const MOST_OF_A_RECORD: usize = 512 << 20;
/// About what an object of serde_json takes before anything is in its values.
const OBJECT: usize = 700;

/// The value of a record's text, and about how many bytes of memory it takes; the error says what is wrong with it and on
/// which of its lines.
pub(crate) fn parse(text: &str) -> Result<(Value, usize), Fault> {
    parse_within(text, MOST_OF_A_RECORD)
}

fn parse_within(text: &str, most: usize) -> Result<(Value, usize), Fault> {
    let left = Cell::new(most);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Node(&left).deserialize(&mut reader).map_err(|error| {
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or(&said);
        (error.line().max(1), said.to_string())
    })?;
    Ok((value, most - left.get()))
}

/// A value whose keys stand once each and that does not take more memory than is left.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Cell<usize>);

impl Node<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.ok_or_else(|| E::custom("it takes more memory than a record of a result does"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.take(size_of::<Value>())?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.take(OBJECT)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            self.take(key.len() + size_of::<String>())?;
            let value = access.next_value_seed(self)?;
            match map.get(&key) {
                Some(other) if *other != value => {
                    return Err(A::Error::custom(format!("`{key}` stands in it twice, with different values")));
                }
                _ => map.insert(key, value),
            };
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_twice_is_refused_unless_it_says_the_same() {
        assert_eq!(parse("{\"a\":1,\n\"a\":1}").unwrap().0, serde_json::json!({"a": 1}));
        let (line, why) = parse("{\"b\":{\"a\":1,\n\"a\":2}}").unwrap_err();
        assert_eq!((line, why.as_str()), (2, "`a` stands in it twice, with different values"));
        assert_eq!(parse("{\n\"a\":1,\n}").unwrap_err(), (3, "trailing comma".to_string()));
    }

    #[test]
    fn a_record_that_swells_in_memory_is_refused() {
        // 7 KB of text that would be more than 700 KB of maps.
        let text = format!("{{\"a\":[{}{{}}]}}", "{\"\":0},".repeat(1 << 10));
        assert_eq!(
            parse_within(&text, 512 << 10).unwrap_err().1,
            "it takes more memory than a record of a result does"
        );
        assert!(parse_within(&text, 1 << 20).is_ok());
    }
}
