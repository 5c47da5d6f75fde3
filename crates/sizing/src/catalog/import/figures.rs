//! The numbers of a list, and what they mean: one decimal mark, one currency and one time for all of them, said by the
//! mapping or by the list itself.

use super::amount::{Mark, Number};
use super::mapping::{Columns, Mapping};
use super::quoted::{self, PriceCell};
use super::text::{Line, PriceList};
use crate::catalog::text::shown;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// Names under which lists have a column of currencies.
const CURRENCY_COLUMNS: [&str; 7] =
    ["currency", "currency code", "currencycode", "währung", "waehrung", "devise", "moneda"];
/// More cards, threads or GiB than any one machine has.
const MOST_OF_A_MACHINE: f64 = 1e6;

/// How the numbers of a list are read.
pub(crate) struct Figures {
    /// The decimal mark; `None` where no number depends on it.
    pub mark: Option<Mark>,
    /// The first number that shows it, where the mapping does not say it: its line and text.
    pub shown_by: Option<(usize, String)>,
}

/// The columns of a machine's sizes.
fn sizes(columns: &Columns) -> [Option<&String>; 4] {
    [&columns.accelerator_count, &columns.accelerator_memory_gib, &columns.vcpus, &columns.memory_gib]
        .map(Option::as_ref)
}

/// The price of a row; `None` where it is not known. The error names the line.
pub(crate) fn price(line: &Line<'_>, columns: &Columns) -> Result<Option<PriceCell>, String> {
    let text = line.text(Some(&columns.price));
    if quoted::is_unknown(text) {
        return Ok(None);
    }
    let quoted = quoted::read(text)
        .ok_or_else(|| line.at(format!("`{}` is not a price; leave it empty where it is not known", shown(text))))?;
    if quoted.negative && quoted.number.certain() != Ok(Decimal::ZERO) {
        return Err(
            line.at(format!("the price is `{}`, below 0: nobody is paid for using it; correct the row", shown(text)))
        );
    }
    Ok(Some(quoted))
}

impl Figures {
    /// Finds out how the numbers of a list are written. The error names a line and the key of the mapping to set.
    pub(crate) fn of(sheet: &PriceList, mapping: &Mapping) -> Result<Self, String> {
        let mut proven: Option<(Mark, usize, String)> = None;
        let mut open: Option<String> = None;
        for line in sheet.lines() {
            let columns = &mapping.columns;
            let price = price(&line, columns)?.map(|quoted| (quoted.number, line.text(Some(&columns.price))));
            let others = sizes(columns).into_iter().filter_map(|column| {
                let text = line.text(column);
                Some((Number::read(text)?, text))
            });
            for (number, text) in price.into_iter().chain(others) {
                match (number.proves(), &proven) {
                    (None, _) => {
                        if let (Err((point, comma)), None) = (number.certain(), &open) {
                            let (point, comma) = (point.normalize(), comma.normalize());
                            open = Some(line.at(format!(
                                "`{}` is {point} or {comma}: set decimal = \".\" or decimal = \",\" in the mapping",
                                shown(text)
                            )));
                        }
                    }
                    (Some(mark), None) => proven = Some((mark, line.line, text.to_string())),
                    (Some(mark), Some((known, first, example))) if mark != *known && mapping.decimal.is_none() => {
                        return Err(line.at(format!(
                            "`{}` has a decimal {} and `{}` on line {first} has not: write them alike",
                            shown(text),
                            if mark == Mark::Comma { "comma" } else { "point" },
                            shown(example)
                        )));
                    }
                    _ => {}
                }
            }
        }
        match (mapping.decimal, proven, open) {
            (Some(mark), ..) => Ok(Self { mark: Some(mark), shown_by: None }),
            (None, Some((mark, line, text)), _) => Ok(Self { mark: Some(mark), shown_by: Some((line, text)) }),
            (None, None, Some(fault)) => Err(fault),
            (None, None, None) => Ok(Self { mark: None, shown_by: None }),
        }
    }

    /// The value of a number of the list.
    pub(crate) fn value(&self, number: Number, line: &Line<'_>, text: &str) -> Result<Decimal, String> {
        let value = match self.mark {
            Some(mark) => number.with(mark),
            None => number.certain().ok(),
        };
        let sign = self.mark.map_or('.', Mark::sign);
        value.ok_or_else(|| {
            line.at(format!(
                "`{}` is not a number whose decimal mark is `{sign}`: set `decimal` in the mapping",
                shown(text)
            ))
        })
    }

    /// A size of a machine, as in `vcpus`; `None` where the cell is empty.
    pub(crate) fn size(&self, line: &Line<'_>, column: Option<&String>) -> Result<Option<f64>, String> {
        let text = line.text(column);
        if quoted::is_unknown(text) {
            return Ok(None);
        }
        let name = column.map_or("", String::as_str);
        let number = Number::read(text)
            .ok_or_else(|| line.at(format!("`{}` in {name} is not a number above 0; correct the row", shown(text))))?;
        let value = self.value(number, line, text)?.to_f64().unwrap_or(f64::INFINITY);
        if value > MOST_OF_A_MACHINE {
            return Err(line.at(format!("`{}` in {name} is more than any machine has; correct the row", shown(text))));
        }
        Ok(Some(value))
    }
}

/// What prices are of, and USD for one unit of their currency; what the list says must agree with the mapping. The error
/// names a line and the key to set.
pub(crate) fn terms(sheet: &PriceList, mapping: &Mapping) -> Result<(String, Decimal), String> {
    let column = &mapping.columns.price;
    let (header_money, header_time) = quoted::header(column);
    let mut money = header_money.map(|code| (code, 1));
    let mut time = header_time.filter(|_| mapping.per.is_none()).map(|per| (per, 1));
    let currencies = mapping.columns.currency.as_ref().or_else(|| sheet.column_named(&CURRENCY_COLUMNS));
    for line in sheet.lines() {
        let Some(cell) = price(&line, &mapping.columns)? else { continue };
        let named = line.text(currencies);
        let of_column = match named {
            "" => None,
            name => Some(quoted::currency(name).ok_or_else(|| {
                line.at(format!("`{}` is no currency that is known here; list prices in USD", shown(name)))
            })?),
        };
        for code in of_column.into_iter().chain(cell.currency) {
            match money {
                Some((known, first)) if !same_money(known, code) => {
                    return Err(line.at(format!(
                        "a price in {code}, and line {first} has {known}: import a list for each currency"
                    )));
                }
                Some(("$", _)) | None => money = Some((code, line.line)),
                Some(_) => {}
            }
        }
        if let Some(per) = cell.per {
            match time {
                Some((known, first)) if known != per => {
                    return Err(line
                        .at(format!("a price of a {per}, and line {first} has one of a {known}: import them apart")));
                }
                _ => time = Some((per, line.line)),
            }
        }
    }
    if let Some((per, line)) = time.filter(|(per, _)| *per != mapping.per()) {
        let said = if mapping.per.is_some() { "the mapping says" } else { "the mapping says nothing, which is" };
        return Err(format!("line {line}: the price is of a {per}, and {said} {}: set per = \"{per}\"", mapping.per()));
    }
    Ok((mapping.per().to_string(), rate(money, mapping)?))
}

fn same_money(one: &str, other: &str) -> bool {
    one == other || one == "$" && other.ends_with('D') || other == "$" && one.ends_with('D')
}

fn rate(money: Option<(&'static str, usize)>, mapping: &Mapping) -> Result<Decimal, String> {
    let rate = mapping.usd_per_unit.map(|rate| Decimal::from_f64_retain(rate).map(|rate| rate.round_dp(12)));
    match (money, rate) {
        (Some((code, line)), None) if !same_money(code, "USD") => {
            Err(format!("line {line}: prices in {code}: set usd_per_unit in the mapping, what one {code} is in USD"))
        }
        (Some(("USD", line)), Some(Some(rate))) if rate != Decimal::ONE => {
            Err(format!("line {line}: prices in USD, and the mapping multiplies by usd_per_unit = {rate}: take it out"))
        }
        (_, None) => Ok(Decimal::ONE),
        (_, Some(Some(rate))) if !rate.is_zero() => Ok(rate),
        (_, Some(_)) => Err("usd_per_unit is too small to compute with".to_string()),
    }
}
