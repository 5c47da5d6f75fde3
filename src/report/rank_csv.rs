//! A ranking as CSV: ranked rows first, then what was left out with the reason.

use crate::sizing::{Interval, Ranking};

const HEADER: [&str; 30] = [
    "status",
    "rank",
    "provider",
    "instance_type",
    "region",
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
    "usd_per_million_tokens",
    "usd_per_million_tokens_lo",
    "usd_per_million_tokens_hi",
    "usd_per_thousand_requests",
    "ttft_s",
    "tpot_s",
    "requests_per_s",
    "tied_with_first",
    "price_age_days",
    "price_source",
    "reason",
    "remarks",
    "joules_per_token",
    "joules_per_token_lo",
    "joules_per_token_hi",
];

/// The ranking as text. Decimals are exact; what is absent is empty.
pub fn export(ranking: &Ranking) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    let money = |cost: Option<crate::units::Usd>| cost.map_or(String::new(), |c| c.0.normalize().to_string());
    for (index, row) in ranking.rows.iter().enumerate() {
        let cost = row.usd_per_million_tokens;
        let energy =
            |part: fn(&Interval) -> f64| row.joules_per_token.as_ref().map_or(String::new(), |e| part(e).to_string());
        writer.write_record([
            "ranked".to_string(),
            cost.map_or(String::new(), |_| (index + 1).to_string()),
            row.provider.clone(),
            row.instance_type.clone(),
            row.region.clone().unwrap_or_default(),
            row.market.map_or(String::new(), |m| m.name().to_string()),
            row.hardware.clone(),
            row.replicas.to_string(),
            row.quant.to_string(),
            row.batch.to_string(),
            ranking.prompt_tokens.to_string(),
            ranking.gen_tokens.to_string(),
            row.basis.to_string(),
            row.method.to_string(),
            money(row.usd_per_h),
            money(cost.map(|c| c.value)),
            money(cost.map(|c| c.lo)),
            money(cost.map(|c| c.hi)),
            money(row.usd_per_thousand_requests.map(|c| c.value)),
            row.ttft_s.value.to_string(),
            row.tpot_s.value.to_string(),
            row.requests_per_s.value.to_string(),
            row.tied_with_first.to_string(),
            row.price_age_days.map_or(String::new(), |d| d.to_string()),
            row.price_source.clone().unwrap_or_default(),
            row.why_no_cost.clone().unwrap_or_default(),
            row.doubts.iter().chain(&row.remarks).cloned().collect::<Vec<_>>().join(";"),
            energy(|e| e.value),
            energy(|e| e.lo),
            energy(|e| e.hi),
        ])?;
    }
    for item in &ranking.excluded {
        let mut record = vec![String::new(); HEADER.len()];
        let (provider, name) = item.offer.split_once(':').unwrap_or(("", &item.offer));
        record[0] = if item.reason.starts_with("does not fit") { "does_not_fit" } else { "excluded" }.to_string();
        record[2] = provider.to_string();
        record[3] = name.to_string();
        record[8] = item.quant.to_string();
        record[25] = item.reason.clone();
        writer.write_record(&record)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
