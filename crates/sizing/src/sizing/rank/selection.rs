//! What a ranking is of: runs, and of each the points at the lengths and levels that were asked for.

use super::machine;
use super::request::RankRequest;
use super::row::Excluded;
use crate::catalog::Catalog;
use crate::record::{Basis, Run};
use crate::sizing::speed::points::{self, Point, Points, RequestedLengths};
use crate::workload::Quant;

/// Runs with their points, and what was left out.
pub(super) type Selection<'r> = (Vec<(&'r Run, Points)>, Vec<Excluded>);

/// The points of each run at the same lengths and levels. Of many imported systems some were not measured at those: they
/// are left out with the reason. A run that was measured here must have them.
pub(super) fn chosen<'r>(runs: &[&'r Run], catalog: &Catalog, request: &RankRequest) -> Result<Selection<'r>, String> {
    machine::check(runs, catalog, request)?;
    let mut all: Vec<(&Run, Points)> = Vec::new();
    let (mut left_out, mut reasons) = (Vec::new(), Vec::new());
    for run in runs {
        let selected = match all.first() {
            None => points::select(run, &request.wanted, &request.quants),
            Some((_, first)) => {
                let wanted = RequestedLengths { lengths: Some(first.lengths.clone()), ..RequestedLengths::default() };
                points::select(run, &wanted, &first.quants)
            }
        };
        match selected {
            Ok(points) => all.push((run, points)),
            Err(why) if run.record.basis == Basis::Imported => {
                let instance = &run.record.environment.instance;
                let named = instance.provider.as_ref().zip(instance.instance_type.as_ref());
                let name = named.map_or("an imported system".to_string(), |(p, t)| format!("{p}:{t}"));
                let quant = run.cases.first().map_or(Quant::F16, |row| row.key.case.quant);
                left_out.push(Excluded::all_of(name, quant, "it was not measured at these lengths".into()));
                reasons.push(why);
            }
            Err(why) if runs.len() == 1 => return Err(why),
            Err(why) => return Err(format!("{}: {why}", run.path.display())),
        }
    }
    match (all.is_empty(), reasons.into_iter().next()) {
        (true, why) => Err(why.unwrap_or("there is no run to rank".to_string())),
        (false, _) => Ok((all, left_out)),
    }
}

/// The points of one level, by their places.
pub(super) fn of_quant(points: &Points, quant: Quant) -> Vec<(usize, &Point)> {
    points.points.iter().enumerate().filter(|(_, point)| point.case.quant == quant).collect()
}
