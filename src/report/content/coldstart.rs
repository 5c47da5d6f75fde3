//! Starts by phase, cold and warm beside each other.

use crate::record::coldstart::{ColdStartRow, PageCache};
use crate::report::table::{DASH, Table};
use crate::units::{Quantity, Seconds};

type Phase = fn(&ColdStartRow) -> Option<f64>;

/// The phases in their order.
const PHASES: [(&str, Phase); 7] = [
    ("process", |row| row.process_s),
    ("read of the weights", |row| row.read_s),
    ("load", |row| row.load_s),
    ("copy to the device", |row| row.copy_s),
    ("warm-up", |row| row.warm_up_s),
    ("first token", |row| row.first_token_s),
    ("all", |row| row.total_s),
];

fn cell(rows: &[ColdStartRow], cache: PageCache, phase: Phase) -> [String; 2] {
    let mut times: Vec<f64> = rows.iter().filter(|row| row.cache == cache).filter_map(phase).collect();
    times.sort_by(f64::total_cmp);
    match times.as_slice() {
        [] => [DASH.to_string(), DASH.to_string()],
        sorted => {
            let (low, high) = (Seconds(sorted[0]).human(), Seconds(sorted[sorted.len() - 1]).human());
            [Seconds(sorted[sorted.len() / 2]).human(), format!("{low} - {high}")]
        }
    }
}

/// Medians of each phase, with the least and the greatest.
pub fn cold_starts(rows: &[ColdStartRow]) -> Table {
    let mut table = Table::new(
        "From the start of a process to its first token",
        &["phase", ">cold", "least - greatest", ">warm", "least - greatest"],
    );
    for (name, phase) in PHASES {
        let mut cells = vec![name.to_string()];
        cells.extend(cell(rows, PageCache::Cold, phase));
        cells.extend(cell(rows, PageCache::Warm, phase));
        table.push(cells);
    }
    let of = |cache| rows.iter().filter(|row| row.cache == cache && row.total_s.is_some()).count();
    let method = rows.iter().find(|row| row.cache == PageCache::Cold).map_or("", |row| row.cache_method.as_str());
    table.notes.push(format!(
        "cold: weights out of the page cache ({method}), {} starts; warm: weights in it, {}; each in a process of its own",
        of(PageCache::Cold),
        of(PageCache::Warm)
    ));
    // The median lies below the least of n values with probability 2^-n, and above the greatest likewise.
    let sure = 100.0 * (1.0 - 2f64.powi(1 - of(PageCache::Cold).max(1) as i32));
    table.notes.push(format!(
        "medians, which need not add up; least to greatest of so many starts holds the true median with {sure:.0} %"
    ));
    if rows.iter().all(|row| row.copy_s.is_none()) {
        table.notes.push("copy to the device: absent, the weights stay in the memory of the host".to_string());
    }
    table
}
