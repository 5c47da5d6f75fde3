//! What is kept of a variant that is finished, so that a run that was killed goes on behind it. Figures are kept bit by
//! bit: differences between variants are far smaller than what rounding a reference anew would make of them.

use super::evaluation::Evaluation;
use crate::record::{DataRecord, ItemRow, QualityRow, VariantRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What a run was begun with: with anything else its variants cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationSettings {
    /// Each thing by its name, such as a file and its hash.
    pub with: BTreeMap<String, String>,
}

impl EvaluationSettings {
    /// What is other now, in words.
    pub fn differs_from(&self, now: &EvaluationSettings) -> Option<String> {
        let names = self.with.keys().chain(now.with.keys());
        let mut other: Vec<&String> = names.filter(|name| self.with.get(*name) != now.with.get(*name)).collect();
        other.sort_unstable();
        other.dedup();
        let or_none = |of: &EvaluationSettings, name: &str| of.with.get(name).cloned().unwrap_or("none".to_string());
        let words = |name: &&String| format!("{name} was {}, and is {} now", or_none(self, name), or_none(now, name));
        (!other.is_empty()).then(|| other.iter().map(words).collect::<Vec<_>>().join("; "))
    }
}

/// A variant that is finished.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedVariant {
    /// What it was evaluated with.
    pub begun: EvaluationSettings,
    /// What run.json says of it.
    pub record: VariantRecord,
    /// What run.json says of the data; of the reference only.
    pub data: Vec<DataRecord>,
    /// Its figures, not judged yet.
    pub figures: Vec<QualityRow>,
    /// Its items.
    pub items: Vec<ItemRow>,
    /// What the others are held against; of the reference only.
    pub evaluations: Vec<Evaluation>,
}

/// The file: rows as CSV files have them, which are exact.
#[derive(Serialize, Deserialize)]
struct FinishedFile {
    begun: EvaluationSettings,
    record: VariantRecord,
    data: Vec<DataRecord>,
    figures: Vec<Vec<String>>,
    items: Vec<Vec<String>>,
    evaluations: Vec<Evaluation>,
}

pub use crate::record::quality_record::finished_file as file_name;

impl FinishedVariant {
    /// The text of its file.
    pub fn to_text(&self) -> Result<String, String> {
        let kept = FinishedFile {
            begun: self.begun.clone(),
            record: self.record.clone(),
            data: self.data.clone(),
            figures: self.figures.iter().map(QualityRow::fields).collect(),
            items: self.items.iter().map(ItemRow::fields).collect(),
            evaluations: self.evaluations.clone(),
        };
        serde_json::to_string(&kept).map_err(|error| error.to_string())
    }

    /// Reads its file; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let fail = |why: String| format!("{}: {why}; remove the file to evaluate its variant again", path.display());
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| fail(error.to_string()))?,
        };
        let kept: FinishedFile = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let named =
            |header: &[&str], fields: Vec<String>| header.iter().map(|name| name.to_string()).zip(fields).collect();
        let figure = |fields| QualityRow::from_fields(&named(&QualityRow::HEADER, fields));
        let item = |fields| ItemRow::from_fields(&named(&ItemRow::HEADER, fields));
        Ok(Some(Self {
            begun: kept.begun,
            record: kept.record,
            data: kept.data,
            figures: kept.figures.into_iter().map(figure).collect::<Result<_, _>>().map_err(fail)?,
            items: kept.items.into_iter().map(item).collect::<Result<_, _>>().map_err(fail)?,
            evaluations: kept.evaluations,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::evaluation::{Aggregation, DataSetKind, ItemResult, ItemizedFigure};
    use crate::units::{Bytes, Seconds};
    use crate::workload::Quant;

    fn finished() -> FinishedVariant {
        // Numbers whose shortest text a hasty reader gets wrong by a bit.
        let odd = [0.1 + 0.2, 5e-324, 1.797_693_134_862_315_7e308, 123_456.789_012_345_67, -2.2250738585072014e-308];
        let items =
            odd.iter().map(|odd| ItemResult { outcome: *odd, target: Some(*odd), ..ItemResult::default() }).collect();
        let series = ItemizedFigure {
            metric: "perplexity".into(),
            higher_is_better: false,
            summary: Aggregation::Exponential,
            from_reference: false,
            parts: odd.iter().map(|odd| (*odd, -odd)).collect(),
        };
        let evaluation =
            Evaluation { items, series: vec![series], pairs: vec![(0.1, 0.7)], ..Evaluation::new(DataSetKind::Text) };
        FinishedVariant {
            begun: EvaluationSettings { with: BTreeMap::from([("model".to_string(), "a1".to_string())]) },
            record: VariantRecord {
                quant: Quant::Int4,
                pruning: String::new(),
                stored_bytes: Bytes(7.0),
                resident_bytes: Bytes(7.0),
                sparsity: 0.0,
                at_level: Some(1.0),
                evaluation_s: Seconds(0.5),
                notes: Vec::new(),
                failure: None,
            },
            data: Vec::new(),
            figures: Vec::new(),
            items: Vec::new(),
            evaluations: vec![evaluation],
        }
    }

    #[test]
    fn what_is_kept_comes_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name(0));
        assert_eq!(FinishedVariant::read(&path), Ok(None));
        let finished = finished();
        let text = finished.to_text().unwrap();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(FinishedVariant::read(&path).unwrap().unwrap(), finished);
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert!(FinishedVariant::read(&path).unwrap_err().contains("remove the file"));
    }

    #[test]
    fn what_is_other_is_named() {
        let begun = finished().begun;
        let mut now = begun.clone();
        assert_eq!(begun.differs_from(&now), None);
        now.with.insert("model".to_string(), "b2".to_string());
        now.with.insert("t.txt".to_string(), "c3".to_string());
        let said = begun.differs_from(&now).unwrap();
        assert_eq!(said, "model was a1, and is b2 now; t.txt was none, and is c3 now");
    }
}
