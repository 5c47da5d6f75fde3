//! What a whole set of JSON lines is like: what asks the same more than once, what contradicts itself, what looks as if
//! it were meant otherwise.

use super::data::{DataError, DataSet};
use super::items::DataItem;
use super::repeats::sketch;
use std::collections::{HashMap, HashSet};

/// From so many questions on, none whose first option is right is worth a word.
const MANY: usize = 20;

/// What a set of JSON lines is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Lines with an item.
    pub lines: usize,
    /// Those that ask what an earlier one asked.
    pub repeats: usize,
    /// Questions that a later line answers otherwise, and the first of them: both lines.
    pub contradictions: usize,
    /// The first of them: both lines.
    pub contradiction: Option<(usize, usize)>,
    /// Different questions some of whose options are the same text, and the line of the first.
    pub alike: usize,
    /// The line of the first.
    pub first_alike: Option<usize>,
    /// Different questions with options of which the first is never right.
    pub never_first: usize,
    /// What tells these questions from others, in whatever order they come ([`super::repeats::sketch`]).
    pub sketch: Vec<u64>,
}

impl Survey {
    pub(super) fn of<T: DataItem>(set: &DataSet) -> Result<Self, DataError> {
        let mut survey = Self::default();
        // Line, right answer, and whether another was found.
        let mut known: HashMap<u64, (usize, u64, bool)> = HashMap::new();
        let mut items = set.items::<T>()?;
        let mut first_is_right = false;
        while let Some(item) = items.any() {
            let (item, line) = (item?, items.lines.line);
            survey.lines += 1;
            match known.get_mut(&item.question()) {
                Some((before, right, contradicted)) => {
                    survey.repeats += 1;
                    if *right != item.right() && !*contradicted {
                        *contradicted = true;
                        survey.contradictions += 1;
                        survey.contradiction.get_or_insert((*before, line));
                    }
                    continue;
                }
                None => known.insert(item.question(), (line, item.right(), false)),
            };
            if let Some((options, right)) = item.options() {
                let different: HashSet<&String> = options.iter().collect();
                if different.len() < options.len() {
                    survey.alike += 1;
                    survey.first_alike.get_or_insert(line);
                }
                first_is_right |= right == 0;
                survey.never_first += 1;
            }
        }
        if first_is_right {
            survey.never_first = 0;
        }
        survey.sketch = sketch(known.into_keys());
        Ok(survey)
    }

    /// What is to be said of it.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.repeats > 0 {
            let different = self.lines - self.repeats;
            let are = if different == 1 { "1 different question" } else { &format!("{different} different questions") };
            notes.push(format!("{} lines ask {are}: each counts once", self.lines));
        }
        if let Some((one, other)) = self.contradiction {
            let more = match self.contradictions {
                0 | 1 => String::new(),
                several => format!(" ({several} questions are like that)"),
            };
            notes.push(format!(
                "lines {one} and {other} ask the same and give different answers{more}: the first counts"
            ));
        }
        if let Some(line) = self.first_alike {
            notes.push(format!(
                "options of {} of the questions are the same text (the first in line {line}): the first of them is taken for \
                 the answer",
                self.alike
            ));
        }
        if self.never_first >= MANY {
            notes.push(format!(
                "the first option is right in none of {} questions: places are counted from 0, and these look counted from 1",
                self.never_first
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(lines: &[&str]) -> Survey {
        DataSet::embedded("x.jsonl", (lines.join("\n") + "\n").into_bytes().leak()).unwrap().survey
    }

    #[test]
    fn what_asks_the_same_counts_once() {
        let one = r#"{"context":"a","choices":["b","c"],"answer":0}"#;
        // Another order of the options, another end of a line, another column: the same question.
        let again = r#"{"context":"a","choices":["c","b"],"answer":1,"id":2}"#;
        let otherwise = r#"{"context":"a","choices":["b","c"],"answer":1}"#;
        let other = r#"{"context":"a\r\n","choices":["b","c"],"answer":1}"#;
        let same_other = r#"{"context":"a\n","choices":["b","c"],"answer":1}"#;
        let found = survey(&[one, again, other, same_other, otherwise, otherwise]);
        assert_eq!((found.lines, found.repeats), (6, 4));
        assert_eq!((found.contradictions, found.contradiction), (1, Some((1, 5))));
        assert_eq!(
            found.notes(),
            [
                "6 lines ask 2 different questions: each counts once",
                "lines 1 and 5 ask the same and give different answers: the first counts"
            ]
        );
        let pairs = survey(&[r#"{"a":"x","b":"y","score":1}"#, r#"{"b":"x","a":"y","score":2}"#]);
        assert_eq!((pairs.repeats, pairs.contradiction), (1, Some((1, 2))));
        let prompts = survey(&[r#"{"prompt":"x","answer":"y"}"#, r#"{"prompt":"x","answer":" y ","max_tokens":null}"#]);
        assert_eq!((prompts.repeats, prompts.contradictions), (1, 0));
    }

    #[test]
    fn options_alike_and_places_from_one_are_said() {
        let alike = survey(&[r#"{"text":"a","labels":["b","b"],"label":0}"#]);
        assert!(alike.notes()[0].contains("the first in line 1"), "{:?}", alike.notes());
        let lines: Vec<String> =
            (0..20).map(|i| format!(r#"{{"context":"{i}","choices":["x","y","z"],"answer":{}}}"#, 1 + i % 2)).collect();
        let counted = survey(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(counted.notes()[0].contains("look counted from 1"), "{:?}", counted.notes());
        assert_eq!(survey(&[r#"{"context":"","choices":["x","y"],"answer":1}"#]).notes(), [] as [&str; 0]);
    }
}
