//! The cells that a reader fills in, each with a name that formulae use.

use super::CellFormats;
use crate::report::Report;
use crate::sizing::demand::{Load, Usage};
use rust_xlsxwriter::{DataValidation, DataValidationRule, Format, Workbook, XlsxError};

/// What the cells hold at first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Share of the paid time that is used, where there is no volume.
    pub utilisation: f64,
    /// Requests a second in the mean; 0 where only a share is known.
    pub mean: f64,
    /// At the peak.
    pub peak: f64,
    /// Users who ask one after the other; 0 where the rates above count.
    pub users: f64,
    /// Seconds that they think between an answer and the next request.
    pub think_s: f64,
    /// Instances change over the day, which the sheet does not follow: costs are values.
    pub fixed: bool,
    /// Of its sustained rate, what an instance is loaded to.
    pub headroom: f64,
    /// Instances that may fail.
    pub spare: f64,
    /// Share off list prices.
    pub discount: f64,
    /// Share of requests that fail.
    pub failures: f64,
}

/// The name of the sheet.
pub(crate) const NAME: &str = "Inputs";

/// What a demand comes to.
fn settings(report: &Report<'_>) -> Settings {
    let service = &report.request.service;
    let mut settings = Settings {
        utilisation: 1.0,
        mean: 0.0,
        peak: 0.0,
        users: 0.0,
        think_s: 0.0,
        fixed: false,
        headroom: 0.7,
        spare: 0.0,
        discount: service.discount,
        failures: service.failure_share,
    };
    match &service.usage {
        Usage::Share(share) => settings.utilisation = *share,
        Usage::Demand(demand) => {
            match &demand.load {
                Load::Rates(rates) => {
                    settings.mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
                    settings.peak = rates.iter().copied().fold(0.0, f64::max);
                }
                Load::Users { users, think_s } => (settings.users, settings.think_s) = (*users, *think_s),
            }
            settings.fixed = demand.autoscale;
            (settings.headroom, settings.spare) = (demand.headroom, demand.spare as f64);
        }
    }
    settings
}

/// Name, label, value, look, remark, and the least and greatest that it may be.
type Input<'a> = (&'a str, &'a str, f64, &'a Format, &'a str, (f64, f64));

/// Every input, in the order of the sheet.
fn rows<'f>(settings: &Settings, share: &'f Format, plain: &'f Format) -> [Input<'f>; 9] {
    [
        (
            "utilisation",
            "share of the paid time that is used",
            settings.utilisation,
            share,
            "Used where the requests/s below are 0.",
            (1e-6, 1.0),
        ),
        (
            "requests_per_s",
            "requests/s, mean over the day",
            settings.mean,
            plain,
            "0: only the share above counts. Above 0: whole instances for the peak.",
            (0.0, 1e9),
        ),
        ("peak_requests_per_s", "requests/s, at the peak", settings.peak, plain, "Not below the mean.", (0.0, 1e9)),
        (
            "users",
            "users who ask one after the other",
            settings.users,
            plain,
            "Above 0 they count in place of the requests/s: users / (think time + E2E of the offer).",
            (0.0, 1e12),
        ),
        ("think_time_s", "seconds between an answer and the next", settings.think_s, plain, "Of a user.", (0.0, 1e9)),
        (
            "headroom",
            "share of its rate that an instance is loaded to",
            settings.headroom,
            share,
            "What bursts may take.",
            (1e-6, 1.0),
        ),
        ("spare", "instances that may fail at the peak", settings.spare, plain, "0, 1, 2 ...", (0.0, 1e6)),
        (
            "discount",
            "discount on list prices",
            settings.discount,
            share,
            "Of on-demand and reserved offers, not of spot.",
            (0.0, 0.999_999),
        ),
        (
            "failures",
            "share of requests that fail and are paid",
            settings.failures,
            share,
            "Each successful one bears them.",
            (0.0, 0.99),
        ),
    ]
}

/// Writes the sheet.
pub(crate) fn sheet(workbook: &mut Workbook, looks: &CellFormats, report: &Report<'_>) -> Result<Settings, XlsxError> {
    let settings = settings(report);
    let sheet = workbook.add_worksheet().set_name(NAME)?;
    sheet.set_column_width(0, 46)?.set_column_width(1, 14)?.set_column_width(2, 90)?;
    sheet.write_string_with_format(0, 0, "What you can change", &looks.title)?;
    sheet.write_string_with_format(
        1,
        0,
        "Yellow cells here and on the sheet Costs; everything else follows from them.",
        &looks.note,
    )?;
    let (share, plain) = (looks.input.clone().set_num_format("0.0%"), looks.input.clone());
    let rows = rows(&settings, &share, &plain);
    for (index, (_, label, value, format, note, (least, most))) in rows.iter().enumerate() {
        let row = index as u32 + 3;
        sheet.write_string(row, 0, *label)?;
        sheet.write_number_with_format(row, 1, *value, format)?;
        sheet.write_string_with_format(row, 2, *note, &looks.note)?;
        let rule = DataValidation::new()
            .allow_decimal_number(DataValidationRule::Between(*least, *most))
            .set_error_message(format!("{label}: from {least} to {most}"))?;
        sheet.add_data_validation(row, 1, row, 1, &rule)?;
    }
    for (index, (name, ..)) in rows.iter().enumerate() {
        workbook.define_name(*name, &format!("={NAME}!$B${}", index + 4))?;
    }
    Ok(settings)
}
