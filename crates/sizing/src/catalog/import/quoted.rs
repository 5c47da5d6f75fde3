//! A price as a list has it: its number, and what stands beside that — a sign, a currency, a time.

use super::amount::Number;

/// Names of currencies and the code of each. `$` alone is that of several countries.
const CURRENCIES: [(&str, &str); 60] = [
    ("$", "$"),
    ("US$", "USD"),
    ("USD", "USD"),
    ("€", "EUR"),
    ("EUR", "EUR"),
    ("EURO", "EUR"),
    ("EUROS", "EUR"),
    ("£", "GBP"),
    ("GBP", "GBP"),
    ("CHF", "CHF"),
    ("SFR", "CHF"),
    ("FR.", "CHF"),
    ("¥", "JPY/CNY"),
    ("￥", "JPY/CNY"),
    ("JPY", "JPY"),
    ("円", "JPY"),
    ("CNY", "CNY"),
    ("RMB", "CNY"),
    ("元", "CNY"),
    ("₹", "INR"),
    ("INR", "INR"),
    ("RS", "INR"),
    ("RS.", "INR"),
    ("A$", "AUD"),
    ("AU$", "AUD"),
    ("AUD", "AUD"),
    ("C$", "CAD"),
    ("CA$", "CAD"),
    ("CAD", "CAD"),
    ("HK$", "HKD"),
    ("HKD", "HKD"),
    ("S$", "SGD"),
    ("SGD", "SGD"),
    ("NZ$", "NZD"),
    ("NZD", "NZD"),
    ("R$", "BRL"),
    ("BRL", "BRL"),
    ("KR", "SEK/NOK/DKK"),
    ("KR.", "SEK/NOK/DKK"),
    ("SEK", "SEK"),
    ("NOK", "NOK"),
    ("DKK", "DKK"),
    ("ZŁ", "PLN"),
    ("PLN", "PLN"),
    ("KČ", "CZK"),
    ("CZK", "CZK"),
    ("₩", "KRW"),
    ("KRW", "KRW"),
    ("₽", "RUB"),
    ("RUB", "RUB"),
    ("₺", "TRY"),
    ("₪", "ILS"),
    ("ILS", "ILS"),
    ("ZAR", "ZAR"),
    ("HUF", "HUF"),
    ("FT", "HUF"),
    ("RON", "RON"),
    ("TWD", "TWD"),
    ("NT$", "TWD"),
    ("MXN", "MXN"),
];

/// Codes of what `$` may mean.
const DOLLARS: [&str; 9] = ["USD", "AUD", "CAD", "HKD", "SGD", "NZD", "TWD", "MXN", "BRL"];

/// Words of times and what `per` calls each.
const TIMES: [(&str, &str); 37] = [
    ("h", "hour"),
    ("hr", "hour"),
    ("hrs", "hour"),
    ("hour", "hour"),
    ("hourly", "hour"),
    ("std", "hour"),
    ("std.", "hour"),
    ("stunde", "hour"),
    ("stündlich", "hour"),
    ("heure", "hour"),
    ("hora", "hour"),
    ("ora", "hour"),
    ("s", "second"),
    ("sec", "second"),
    ("second", "second"),
    ("sek", "second"),
    ("sekunde", "second"),
    ("mo", "month"),
    ("mon", "month"),
    ("mth", "month"),
    ("month", "month"),
    ("monthly", "month"),
    ("monat", "month"),
    ("monatlich", "month"),
    ("mtl", "month"),
    ("mtl.", "month"),
    ("mois", "month"),
    ("mes", "month"),
    ("mese", "month"),
    ("y", "year"),
    ("yr", "year"),
    ("year", "year"),
    ("yearly", "year"),
    ("annual", "year"),
    ("annum", "year"),
    ("jahr", "year"),
    ("jährlich", "year"),
];

/// Texts that stand for a price that is not known.
const UNKNOWN: [&str; 9] = ["", "-", "--", "\u{2013}", "\u{2014}", "n/a", "na", "null", "none"];

/// A cell of the price column, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PriceCell {
    /// The number, without its sign.
    pub number: Number,
    /// Whether it is below 0: `-1`, `(1)` or `1-`.
    pub negative: bool,
    /// Code of the currency, where the cell says one.
    pub currency: Option<&'static str>,
    /// What the price is of, where the cell says it.
    pub per: Option<&'static str>,
}

/// The code of a currency by any of its names.
pub(super) fn currency(name: &str) -> Option<&'static str> {
    let name = name.trim().to_uppercase();
    CURRENCIES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

fn time(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    TIMES.iter().find(|(known, _)| *known == name).map(|(_, per)| *per)
}

/// Whether a price is said not to be known.
pub(crate) fn is_unknown(text: &str) -> bool {
    UNKNOWN.contains(&text.trim().to_lowercase().as_str())
}

/// What the name of a column says of its prices: `EUR/month` is in EUR and of a month.
pub(crate) fn header(name: &str) -> (Option<&'static str>, Option<&'static str>) {
    let words = || name.split(|c: char| c.is_whitespace() || "/()[]{},;:_-|".contains(c)).filter(|w| !w.is_empty());
    let one = |mut found: Vec<&'static str>| {
        found.sort_unstable();
        found.dedup();
        if let [only] = found[..] { Some(only) } else { None }
    };
    // Short words may stand for something else in a name.
    let of_time = |word: &&str| word.chars().count() > 1 || *word == "h";
    // So may `kr`, `rs` and `ft`.
    let of_money = |word: &&str| word.chars().count() > 2 || !word.chars().all(|c| c.is_ascii_alphabetic());
    (
        one(words().filter(of_money).filter_map(currency).collect()),
        one(words().filter(of_time).filter_map(time).collect()),
    )
}

/// Reads a cell; `None` where it is not a price.
pub(crate) fn read(text: &str) -> Option<PriceCell> {
    let text = text.trim();
    let is_mark = |c: char| c == '.' || c == ',';
    let first = text.find(|c: char| c.is_ascii_digit())?;
    // `.50`
    let first = text[..first].char_indices().next_back().filter(|(_, c)| is_mark(*c)).map_or(first, |(at, _)| at);
    let last = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    // `12,-`: a mark and dashes, at the end or before the currency.
    let tail = &text[last..];
    let dashes =
        tail.chars().skip(1).take_while(|c| "-\u{2013}\u{2014}".contains(*c)).map(char::len_utf8).sum::<usize>();
    let last = if tail.starts_with(is_mark) && dashes > 0 { last + 1 + dashes } else { last };
    let (before, after) = (text[..first].trim(), text[last..].trim());
    let minus = |c: char| c == '-' || c == '\u{2212}';
    let negative = before.contains(minus) || before.contains('(') || after == "-" || after.starts_with("-");
    let before = before.replace(['-', '\u{2212}', '(', '+'], "");
    let after = after.trim_start_matches('-').trim_end_matches(')');
    let (before_currency, before_per) = beside(&before)?;
    let (after_currency, per) = beside(after)?;
    let currency = match (before_currency, after_currency) {
        (Some(one), Some(other)) if one == other => Some(one),
        // `$1.20 USD` says which dollar.
        (Some("$"), Some(code)) if DOLLARS.contains(&code) => Some(code),
        (Some(_), Some(_)) => return None,
        (one, other) => one.or(other),
    };
    let number = Number::read(&text[first..last])?;
    before_per.is_none().then_some(PriceCell { number, negative, currency, per })
}

/// What stands on one side of the number: a currency, a time, both or nothing; `None` for anything else.
fn beside(text: &str) -> Option<(Option<&'static str>, Option<&'static str>)> {
    let text = text.trim();
    if text.is_empty() {
        return Some((None, None));
    }
    let spaced = text.replace('/', " per ");
    let words: Vec<&str> =
        spaced.split_whitespace().filter(|w| !["per", "pro", "a", "an"].contains(&w.to_lowercase().as_str())).collect();
    match words[..] {
        [word] => currency(word).map(|code| (Some(code), None)).or_else(|| time(word).map(|per| (None, Some(per)))),
        [money, of] => Some((Some(currency(money)?), Some(time(of)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, bool, Option<&'static str>, Option<&'static str>)> {
        let quoted = read(text)?;
        let number = quoted.number.certain().map_or("?".to_string(), |value| value.normalize().to_string());
        Some((number, quoted.negative, quoted.currency, quoted.per))
    }

    #[test]
    fn currencies_and_times_stand_before_and_behind() {
        for (text, number, negative, currency, per) in [
            ("0.71", "0.71", false, None, None),
            ("$17,461.60", "17461.6", false, Some("$"), None),
            ("0.71 EUR", "0.71", false, Some("EUR"), None),
            ("2,99 \u{a0}€", "2.99", false, Some("EUR"), None),
            ("£1.99", "1.99", false, Some("GBP"), None),
            ("CHF 1'234.50", "1234.5", false, Some("CHF"), None),
            ("US$ 0.71/h", "0.71", false, Some("USD"), Some("hour")),
            ("0,71 €/Std.", "0.71", false, Some("EUR"), Some("hour")),
            ("1.234,00 € pro Monat", "1234", false, Some("EUR"), Some("month")),
            ("$518.30 / month", "518.3", false, Some("$"), Some("month")),
            ("12,- €", "12", false, Some("EUR"), None),
            ("$0.71 USD", "0.71", false, Some("USD"), None),
            ("0.71/hr", "0.71", false, None, Some("hour")),
            (".5", "0.5", false, None, None),
            ("-0.71", "0.71", true, None, None),
            ("\u{2212}0,71 €", "0.71", true, Some("EUR"), None),
            ("($0.71)", "0.71", true, Some("$"), None),
            ("$-0.71", "0.71", true, Some("$"), None),
            ("0.71-", "0.71", true, None, None),
            ("+0.71", "0.71", false, None, None),
            ("1e-05", "0.00001", false, None, None),
        ] {
            assert_eq!(parts(text), Some((number.to_string(), negative, currency, per)), "{text}");
        }
        for text in [
            "",
            "NaN",
            "inf",
            "from $1.20",
            "1.2k",
            "5%",
            "0.71 credits",
            "1/2",
            "$1 EUR",
            "0.71 USD/730h",
            "1 2 3",
            "cheap",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_column_says_what_its_prices_are() {
        for (name, said) in [
            ("EUR/month", (Some("EUR"), Some("month"))),
            ("Preis", (None, None)),
            ("usd", (Some("USD"), None)),
            ("usd_per_hour", (Some("USD"), Some("hour"))),
            ("Price (USD/h)", (Some("USD"), Some("hour"))),
            ("Preis in € pro Monat", (Some("EUR"), Some("month"))),
            ("USD or EUR", (None, None)),
            ("s", (None, None)),
        ] {
            assert_eq!(header(name), said, "{name}");
        }
    }
}
