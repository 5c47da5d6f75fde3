//! The interactive part of the page: its script, its style, and the data that it chooses from. The script computes costs
//! by [`formulas`], which are written into it, and shows the columns and components of the program's own tables;
//! tests/browser holds its numbers to those of `rank`.

use super::{Report, columns};
use crate::catalog::Market;
use crate::record::{Basis, LatencyKind};
use crate::sizing::cost::component::{self, Facts};
use crate::sizing::demand::{Load, Usage};
use crate::sizing::{RankRequest, formulas};
use base64::Engine;
use ring::digest;
use serde_json::{Value, json};

/// In the order in which they build on each other.
const SCRIPTS: [&str; 5] = [
    include_str!("cost.js"),
    include_str!("ranking.js"),
    include_str!("charts.js"),
    include_str!("tables.js"),
    include_str!("controls.js"),
];

/// Additions to the page's style.
pub const STYLE: &str = include_str!("page.css");

/// The whole script: the program's formulas and tables, and what shows them.
pub fn script() -> String {
    let component =
        |facts: &Facts| json!({ "name": facts.name, "fill": format!("#{:06x}", facts.fill), "gap": facts.gap });
    let components: Vec<Value> = component::TABLE.iter().map(component).collect();
    let tables = format!(
        "window.sizewell.components = {};\nwindow.sizewell.columns = {};",
        Value::from(components),
        columns::of_page()
    );
    [formulas::script().as_str(), tables.as_str()].into_iter().chain(SCRIPTS).collect::<Vec<_>>().join("\n")
}

/// A policy that lets nothing in but the page's own style and this script: no network, whatever a name may hold.
pub fn policy(script: &str) -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(digest::digest(&digest::SHA256, script.as_bytes()));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    )
}

/// What the script chooses from, as JSON that no HTML ends; `None` without a ranking.
pub fn data(report: &Report<'_>) -> anyhow::Result<Option<String>> {
    let Some(choices) = report.choices() else { return Ok(None) };
    let mut value = serde_json::to_value(choices)?;
    let quants: Vec<&str> =
        report.rankings.iter().flatten().take(1).flat_map(|r| &r.quants).map(|q| q.name()).collect();
    value["settings"] = settings(report.request, &quants);
    Ok(Some(serde_json::to_string(&value)?.replace('<', "\\u003c")))
}

/// The settings that the page begins with.
fn settings(request: &RankRequest, quants: &[&str]) -> Value {
    let markets: Vec<&str> = match request.markets.as_slice() {
        [] => vec![Market::OnDemand.name()],
        markets => markets.iter().map(|market| market.name()).collect(),
    };
    let (share, demand) = match &request.service.usage {
        Usage::Share(share) => (*share, None),
        Usage::Demand(demand) => (1.0, Some(demand)),
    };
    let (rates, users, think_s) = match demand.map(|demand| &demand.load) {
        Some(Load::Rates(rates)) => (Some(rates.clone()), None, 0.0),
        Some(Load::Users { users, think_s }) => (None, Some(*users), *think_s),
        None => (None, None, 0.0),
    };
    let median = |kind: LatencyKind| request.slo.median_limit(kind);
    let some = |names: &[String]| if names.is_empty() { Value::Null } else { json!(names) };
    json!({
        "quants": quants,
        "ttft": median(LatencyKind::Ttft), "tpot": median(LatencyKind::Tpot), "e2e": median(LatencyKind::E2e),
        "markets": markets,
        "provider": some(&request.providers), "region": some(&request.regions), "gpu": Value::Null,
        "only": request.only.map(Basis::name),
        "share": share, "rates": rates, "users": users, "think_s": think_s,
        "headroom": demand.map_or(0.7, |demand| demand.headroom),
        "spare": demand.map_or(0, |demand| demand.spare),
        "autoscale": demand.is_some_and(|demand| demand.autoscale),
    })
}
