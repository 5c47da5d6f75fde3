//! `sizewell rank`.

use super::catalog::load_catalog;
use super::talk::Talk;
use super::{Exit, output, today, usage};
use crate::catalog::Market;
use crate::record::Run;
use crate::report::{content, rank_csv};
use crate::sizing::{MachinePrice, RankRequest, Slo, rank};
use crate::workload::Quant;
use clap::ValueEnum;
use rust_decimal::Decimal;
use std::path::PathBuf;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// Markets on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MarketArg {
    #[value(name = "on_demand", alias = "on-demand")]
    OnDemand,
    Spot,
    All,
}

/// Arguments of `rank`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the run.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Quantization levels to rank together; the highest precision up to 16 bits by default.
    #[arg(long, value_delimiter = ',', value_name = "LEVEL,...")]
    quant: Vec<Quant>,
    /// Prompt length of the requests, one that was measured.
    #[arg(long, value_name = "N")]
    prompt: Option<usize>,
    /// Generated tokens of the requests, as measured.
    #[arg(long, value_name = "N")]
    gen_tokens: Option<usize>,
    /// Limits that medians must keep, such as ttft=500ms,tpot=50ms,e2e=2s.
    #[arg(long, value_name = "LIMITS", default_value = "")]
    slo: Slo,
    /// How the hardware is bought.
    #[arg(long, value_enum, default_value = "on_demand")]
    market: MarketArg,
    /// Only this provider.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only this region.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Every region of a type, not only its cheapest.
    #[arg(long)]
    all_regions: bool,
    /// The instance that the measured machine is, such as aws:m7a.large.
    #[arg(long = "as", value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
    /// What an hour of the measured machine costs, in USD.
    #[arg(long, value_name = "USD")]
    price_per_hour: Option<Decimal>,
    /// Prices from this folder instead of those that the program carries.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Rows of the table.
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// Also list every offer that was left out, with the reason.
    #[arg(long)]
    explain: bool,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Short for --format json.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn request(&self) -> anyhow::Result<RankRequest> {
        let instance = match &self.instance {
            Some(text) => Some(MachinePrice::parse_instance(text).or_else(usage)?),
            None => None,
        };
        if self.price_per_hour.is_some_and(|price| price <= Decimal::ZERO) {
            return usage("--price-per-hour must be above 0");
        }
        Ok(RankRequest {
            quants: self.quant.clone(),
            prompt_tokens: self.prompt,
            gen_tokens: self.gen_tokens,
            slo: self.slo,
            markets: match self.market {
                MarketArg::OnDemand => vec![Market::OnDemand],
                MarketArg::Spot => vec![Market::Spot],
                MarketArg::All => vec![Market::OnDemand, Market::Spot],
            },
            provider: self.provider.clone(),
            region: self.region.clone(),
            all_regions: self.all_regions,
            machine: MachinePrice { instance, usd_per_h: self.price_per_hour.map(crate::units::Usd) },
            today: today(),
        })
    }
}

/// Ranks a run.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let request = args.request()?;
    let run = Run::read(&args.run)?;
    let catalog = load_catalog(args.catalog.as_deref())?;
    let ranking = rank(&run, &catalog, &request).or_else(usage)?;
    match args.format {
        _ if args.json => output::json(&ranking)?,
        Format::Json => output::json(&ranking)?,
        Format::Csv => output::text(&rank_csv::export(&ranking)?)?,
        Format::Table => {
            output::table(&content::ranking(&ranking, args.top))?;
            if !ranking.excluded.is_empty() {
                let table = match args.explain {
                    true => content::excluded_offers(&ranking.excluded),
                    false => content::excluded(&ranking.excluded),
                };
                output::text("\n")?;
                output::table(&table)?;
            }
            output::text(&format!("\n{}\n", ranking.headline.join("\n")))?;
        }
    }
    if ranking.rows.is_empty() {
        talk.warn("nothing is left to rank: every offer was filtered out or excluded");
    }
    Ok(Exit::Done)
}
