//! A ranking as CSV: ranked rows first, then what was left out with the reason.

use super::{Exporter, Report};
use crate::record::Basis;
use crate::sizing::cost::Component;
use crate::sizing::projection::Tier;
use crate::sizing::{CostInterval, Interval, RankRow, Ranking};
use crate::units::Usd;

const HEADER: [&str; 50] = [
    "status",
    "rank",
    "provider",
    "instance_type",
    "region",
    "zone",
    "market",
    "hardware",
    "replicas",
    "quant",
    "batch",
    "prompt_tokens",
    "gen_tokens",
    "basis",
    "method",
    "usd_per_h",
    "usd_per_request",
    "usd_per_request_lo",
    "usd_per_request_hi",
    "usd_per_thousand_requests",
    "usd_per_million_tokens",
    "usd_per_million_tokens_lo",
    "usd_per_million_tokens_hi",
    "usd_per_million_input_tokens",
    "usd_per_million_output_tokens",
    "instances",
    "utilisation",
    "usd_per_month",
    "usd_per_user_month",
    "compute_usd",
    "idle_usd",
    "storage_usd",
    "egress_usd",
    "energy_usd",
    "facility_usd",
    "cold_starts_usd",
    "interruptions_usd",
    "failures_usd",
    "ttft_s",
    "tpot_s",
    "e2e_s",
    "requests_per_s",
    "joules_per_token",
    "g_co2e_per_thousand_requests",
    "tied_with_first",
    "on_front",
    "price_age_days",
    "price_source",
    "reason",
    "remarks",
];
/// Columns that came later: behind the others, so that readers of those find them where they were.
const LATER: [&str; 13] = [
    "joules_per_token_lo",
    "joules_per_token_hi",
    "ttft_s_lo",
    "ttft_s_hi",
    "tpot_s_lo",
    "tpot_s_hi",
    "tier",
    "calibration_cards",
    "law_of",
    "nearest_card",
    "validated_mape",
    "roofline_ttft_s",
    "roofline_tpot_s",
];
/// Columns after which reason and remarks stand.
const REASON: usize = 48;

/// The rankings of a report as one table.
pub struct Csv;

impl Exporter for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let rankings = report.rankings.as_ref().map_err(|why| anyhow::anyhow!("no ranking: {why}"))?;
        let mut text = String::new();
        for (index, ranking) in rankings.iter().enumerate() {
            let one = export(ranking)?;
            // One header for all of them.
            text.push_str(if index == 0 { &one } else { one.split_once('\n').map_or("", |(_, rows)| rows) });
        }
        Ok(text.into_bytes())
    }
}

/// Text that no spreadsheet takes for a formula (OWASP, CSV injection): a quote before what would begin one.
fn inert(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_string(),
    }
}

/// The ranking as text. Decimals are exact; what is absent is empty. Energies have their ends behind a second pair of
/// columns, `joules_per_token_lo` and `_hi`.
pub fn export(ranking: &Ranking) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER.iter().chain(&LATER))?;
    for (index, row) in ranking.rows.iter().enumerate() {
        writer.write_record(record(ranking, index, row))?;
    }
    for item in &ranking.excluded {
        let mut record = vec![String::new(); HEADER.len() + LATER.len()];
        let (provider, name) = item.offer.split_once(':').unwrap_or(("", &item.offer));
        record[0] = if item.reason.starts_with("does not fit") { "does_not_fit" } else { "excluded" }.to_string();
        record[2] = inert(provider);
        record[3] = inert(name);
        record[9] = item.quant.to_string();
        record[REASON] = inert(&item.reason);
        record[HEADER.len() + 6] = "N".to_string();
        writer.write_record(&record)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn record(ranking: &Ranking, index: usize, row: &RankRow) -> Vec<String> {
    fn or_empty<T: ToString>(value: Option<T>) -> String {
        value.map_or(String::new(), |v| v.to_string())
    }
    let money = |cost: Option<Usd>| or_empty(cost.map(|c| c.0.normalize()));
    let value = |cost: Option<CostInterval>| money(cost.map(|c| c.value));
    let energy = |part: fn(&Interval) -> f64| or_empty(row.joules_per_token.as_ref().map(part));
    let (request, tokens) = (row.usd_per_request, row.usd_per_million_tokens);
    let mut record = vec![
        "ranked".to_string(),
        or_empty(request.map(|_| index + 1)),
        inert(&row.provider),
        inert(&row.instance_type),
        inert(&or_empty(row.region.as_ref())),
        inert(&or_empty(row.zone.as_ref())),
        or_empty(row.market.map(|m| m.name())),
        inert(&row.hardware),
        row.replicas.to_string(),
        row.quant.to_string(),
        row.batch.to_string(),
        ranking.prompt_tokens.to_string(),
        ranking.gen_tokens.to_string(),
        row.basis.to_string(),
        inert(row.method),
        money(row.usd_per_h),
        value(request),
        money(request.map(|c| c.lo)),
        money(request.map(|c| c.hi)),
        value(row.usd_per_thousand_requests),
        value(tokens),
        money(tokens.map(|c| c.lo)),
        money(tokens.map(|c| c.hi)),
        value(row.usd_per_million_input_tokens),
        value(row.usd_per_million_output_tokens),
        or_empty(row.fleet.map(|f| f.instances)),
        or_empty(row.fleet.map(|f| f.utilisation)),
        value(row.usd_per_month),
        value(row.usd_per_user_month),
    ];
    record.extend(Component::ALL.map(|component| value(row.components.map(|parts| parts.of(component)))));
    record.extend([
        row.ttft_s.value.to_string(),
        row.tpot_s.value.to_string(),
        row.e2e_s.value.to_string(),
        row.requests_per_s.value.to_string(),
        energy(|e| e.value),
        or_empty(row.g_co2e_per_thousand_requests.map(|g| g.value)),
        row.tied_with_first.to_string(),
        row.on_front.to_string(),
        or_empty(row.price_age_days),
        inert(&or_empty(row.price_source.as_ref())),
        inert(&or_empty(row.why_no_cost.as_ref())),
        row.doubts.iter().chain(&row.remarks).map(|text| text.to_string()).collect::<Vec<_>>().join(";"),
        energy(|e| e.lo),
        energy(|e| e.hi),
        row.ttft_s.lo.to_string(),
        row.ttft_s.hi.to_string(),
        row.tpot_s.lo.to_string(),
        row.tpot_s.hi.to_string(),
    ]);
    let ground = row.ground.as_ref();
    // Sizes of one CPU generation have no tier of cards.
    let measured_tier = if row.basis == Basis::Projected { "" } else { Tier::M.letter() };
    record.extend([
        ground.map_or(measured_tier, |g| g.tier.letter()).to_string(),
        or_empty(ground.map(|g| g.calibration_cards)),
        inert(&or_empty(ground.map(|g| &g.law_of))),
        or_empty(ground.and_then(|g| g.nearest_card.as_ref())),
        or_empty(ground.and_then(|g| g.validated_mape)),
        or_empty(ground.map(|g| g.roofline_ttft_s)),
        or_empty(ground.map(|g| g.roofline_tpot_s)),
    ]);
    record
}
