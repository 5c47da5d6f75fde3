//! The report as a workbook: prices, discounts, use and volume are cells to fill in, and costs are formulae of them. The
//! formulae are those of `sizing::cost` for hardware that is paid by the hour; tests evaluate them against `rank`.

mod costs;
mod inputs;
mod sheets;

use super::{Exporter, Report};
use rust_xlsxwriter::{Color, Format, FormatBorder, Workbook};

/// An Excel workbook.
pub struct Xlsx;

/// Looks of cells.
struct CellFormats {
    title: Format,
    head: Format,
    input: Format,
    note: Format,
    wrap: Format,
    money: Format,
    number: Format,
    percent: Format,
}

impl CellFormats {
    fn new() -> Self {
        Self {
            title: Format::new().set_bold().set_font_size(15),
            head: Format::new()
                .set_bold()
                .set_background_color(Color::RGB(0xEEEEEE))
                .set_border_bottom(FormatBorder::Thin)
                .set_text_wrap(),
            input: Format::new()
                .set_background_color(Color::RGB(0xFFF6D6))
                .set_border(FormatBorder::Thin)
                .set_border_color(Color::RGB(0xC9B458)),
            note: Format::new().set_font_color(Color::RGB(0x555555)).set_italic(),
            wrap: Format::new().set_text_wrap(),
            money: Format::new().set_num_format("$#,##0.00####"),
            number: Format::new().set_num_format("0.000E+00"),
            percent: Format::new().set_num_format("0.0%"),
        }
    }
}

impl Exporter for Xlsx {
    fn extension(&self) -> &'static str {
        "xlsx"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let mut workbook = Workbook::new();
        let looks = CellFormats::new();
        sheets::answer(&mut workbook, &looks, report)?;
        let settings = inputs::sheet(&mut workbook, &looks, report)?;
        costs::sheet(&mut workbook, &looks, report, &settings)?;
        sheets::cases(&mut workbook, &looks, report)?;
        sheets::tables(&mut workbook, &looks, report)?;
        Ok(workbook.save_to_buffer()?)
    }
}

/// Text as a cell holds it: at most 32,767 characters, none that XML forbids.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(32_000).collect()
}
