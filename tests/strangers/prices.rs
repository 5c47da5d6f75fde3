//! Price lists and catalogs.

#[path = "prices/folders.rs"]
mod folders;
#[path = "prices/rows.rs"]
mod rows;
#[path = "prices/updates.rs"]
mod updates;

use jiff::civil::{Date, date};
use sizewell::catalog::import::{self, Mapping};
use sizewell::catalog::load::embedded_files;
use sizewell::catalog::price::PriceRow;
use sizewell::catalog::tables::Tables;
use sizewell::catalog::{Catalog, adopt};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TODAY: Date = date(2026, 11, 27);

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/prices").join(name)
}

fn sizewell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sizewell"));
    command.env_remove("SIZEWELL_CATALOG");
    command
}

fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).unwrap()
}

/// A mapping of CARDS or CPUS with further keys above its columns.
fn mapping(keys: &str) -> Mapping {
    let text = format!(
        "provider = \"acme\"\nclass = \"gpu_cloud\"\nsource = \"offer\"\nobserved_at = \"2026-11-20\"\nmarket = \"on_demand\"\n\
         {keys}\n[columns]\ninstance_type = \"SKU\"\nprice = \"Preis\"\n"
    );
    sizewell::data_file::parse_toml("map.toml", &text).unwrap()
}

fn tables() -> Tables {
    Tables::read("", &embedded_files()).0
}

fn read(list: &str, keys: &str) -> Result<Vec<PriceRow>, String> {
    import::read(&mapping(keys), list, &tables(), TODAY).map(|fetched| fetched.prices)
}

/// The prices of a list of these cells, as text; or why there are none.
fn prices(cells: &[&str], keys: &str) -> Result<Vec<String>, String> {
    let rows: String = cells.iter().enumerate().map(|(i, cell)| format!("t{i},\"{cell}\"\n")).collect();
    let rows = read(&format!("SKU,Preis\n{rows}"), keys)?;
    Ok(rows.iter().map(|row| row.usd.map_or("none".to_string(), |usd| usd.normalize().to_string())).collect())
}

fn fault(cells: &[&str], keys: &str) -> String {
    match prices(cells, keys) {
        Ok(read) => panic!("{cells:?} were read as {read:?}"),
        Err(why) => why,
    }
}

/// Imports a case as a user does; prices by type and market where it was taken, and what was said.
fn imported(list: &str, map: &str) -> (Option<i32>, BTreeMap<String, String>, String, Option<Catalog>) {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("catalog");
    let out = sizewell()
        .args(["catalog", "import"])
        .arg(case(list))
        .arg("--mapping")
        .arg(case(map))
        .arg("--catalog")
        .arg(&folder)
        .output()
        .unwrap();
    let said = stderr(&out);
    if !out.status.success() {
        assert!(!folder.exists(), "{list}: nothing is written");
        return (out.status.code(), BTreeMap::new(), said, None);
    }
    let catalog = Catalog::from_folder(&folder).unwrap();
    let mine = catalog.offers.iter().filter(|o| ["acme", "corp"].contains(&&*o.shape.provider));
    let prices = mine.map(|offer| {
        let usd = offer.price.map_or("none".to_string(), |usd| usd.0.normalize().to_string());
        let flags: Vec<&str> = offer.flags.iter().map(|flag| &**flag).collect();
        (offer.shape.instance_type.to_string(), [usd.as_str()].into_iter().chain(flags).collect::<Vec<_>>().join(" "))
    });
    (out.status.code(), prices.collect(), said, Some(catalog))
}

#[test]
fn the_lists_of_strangers_are_read_right_or_refused() {
    /// A list, how it is mapped, and the prices that it has.
    type Taken<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let taken: [Taken<'_>; 7] = [
        ("cpu-decimal-comma.csv", "map-cpu.toml", &[("epyc-16", "1020.5"), ("epyc-4", "0.12"), ("epyc-8", "0.24")]),
        ("unknown-decimal-comma.csv", "map.toml", &[("rtx-a", "0.25"), ("rtx-b", "0.31")]),
        ("decimal-comma.csv", "map.toml", &[("H100-1", "2.99"), ("H100-8", "23.92"), ("L4-1", "0.71")]),
        ("thousands-german.csv", "map.toml", &[("H100-8M", "1234.56 price_outlier")]),
        ("thousands-english.csv", "map-month.toml", &[("H100-8M", "26.312"), ("L4-M", "0.781")]),
        ("l2.csv", "map-corp.toml", &[("cpu-1", "0.05"), ("cpu-2", "0.1")]),
        ("semicolons.csv", "map.toml", &[("H100-1", "2.99"), ("L4-1", "0.71"), ("L4-0", "none")]),
    ];
    for (list, map, expected) in taken {
        let (code, found, said, _) = imported(list, map);
        assert_eq!(code, Some(0), "{list}: {said}");
        let found: Vec<(&str, &str)> = found.iter().map(|(name, usd)| (name.as_str(), usd.as_str())).collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{list}");
    }
    for (list, map, parts) in [
        ("negative.csv", "map.toml", "line 2: the price is `-0.71`, below 0"),
        ("currency-suffix.csv", "map.toml", "line 4: a price in GBP, and line 2 has EUR"),
        ("dates.csv", "map-dates.toml", "line 3: `01.11.2026` is not a day like 2026-11-01"),
        ("injection.csv", "map.toml", "line 2: `=cmd|calc!A1` in SKU would be a formula"),
        ("latin1.csv", "map.toml", "(iconv -f latin1 -t utf-8), or set encoding = \"windows-1252\" in the mapping"),
        ("ragged.csv", "map.toml", "line 4 has 3 fields and the header 4"),
        ("utf16.csv", "map.toml", "there is no column `Karte`; the file has Preis, SKU"),
        ("zero.csv", "map.toml", "there is no price in it (3 rows, 2 of them with 0)"),
        ("zero-empty.csv", "map.toml", "there is no price in it (3 rows, 2 of them with 0)"),
        ("mixed-marks.csv", "map-corp.toml", "line 3: `1,50` has a decimal comma and `1.50` on line 2 has not"),
    ] {
        let (code, _, said, _) = imported(list, map);
        assert!(code == Some(1) && said.contains(parts), "{list}: {code:?} {said}");
    }
}

/// What drivers, clouds and a reseller call cards; the two slices of a card are not that card.
#[test]
fn cards_are_known_by_their_names_and_others_are_listed() {
    let (code, prices, said, catalog) = imported("gpu-names.csv", "map-gpu.toml");
    let catalog = catalog.unwrap();
    assert_eq!((code, prices.len()), (Some(0), 21), "{said}");
    for (name, card, count) in [
        ("b300", "nvidia/b300-288", 1.0),
        ("b300-2", "nvidia/b300-288", 1.0),
        ("rtx6000", "nvidia/rtx-pro-6000-bse-96", 1.0),
        ("rtx6000ws", "nvidia/rtx-pro-6000-ws-96", 1.0),
        ("rtx6000mq", "nvidia/rtx-pro-6000-max-q-96", 1.0),
        ("mi355", "amd/mi355x-288", 1.0),
        ("mi355b", "amd/mi355x-288", 1.0),
        ("h100n", "nvidia/h100-sxm-80", 1.0),
        ("a100g", "nvidia/a100-sxm-80", 1.0),
        ("h200", "nvidia/h200-sxm-141", 1.0),
        ("h200n", "nvidia/h200-nvl-141", 1.0),
        ("frac", "nvidia/l40s-48", 0.25),
    ] {
        let offer =
            catalog.offers.iter().find(|o| &*o.shape.provider == "acme" && &*o.shape.instance_type == name).unwrap();
        assert_eq!((offer.shape.accelerator.as_deref(), offer.shape.accelerator_count), (Some(card), count), "{name}");
        assert!(catalog.accelerator(offer).is_some(), "{name}");
    }
    for line in [
        "  2 cards are not in accelerators.csv: listed, not ranked\n",
        "    A100-SXM4-80GB MIG 3g.40gb (a100mig)\n",
        "    NVIDIA H100 80GB HBM3 MIG 1g.10gb (h100mig)\n",
        "  not said which of several cards; taken for\n",
        "    nvidia/a100-sxm-40 (a100x)\n",
        "  1 price is out of line with others like it: flagged, not ranked\n    spot1\n",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(
        said.lines()
            .filter(|line| !line.contains('/') || line.contains("nvidia/"))
            .all(|line| line.chars().count() <= 80)
    );
}

#[test]
fn a_price_is_never_off_by_ten_or_a_thousand() {
    // One number that shows the mark decides for those that do not.
    assert_eq!(prices(&["1.234", "0.71"], "").unwrap(), ["1.234", "0.71"]);
    assert_eq!(prices(&["1.234", "0,71"], "").unwrap(), ["1234", "0.71"]);
    assert_eq!(prices(&["12,240", "1,5"], "").unwrap(), ["12.24", "1.5"]);
    assert_eq!(prices(&["1'234.50", "1'234"], "").unwrap(), ["1234.5", "1234"]);
    assert_eq!(prices(&["1 234,50 €", "1\u{202f}234 €"], "usd_per_unit = 1").unwrap(), ["1234.5", "1234"]);
    // Where none does, the list is refused, with the line and the key.
    for cells in [["3", "1.234"], ["1,234", "2"], ["1.000", "2.000"]] {
        let why = fault(&cells, "");
        assert!(
            why.contains("set decimal = \".\" or decimal = \",\" in the mapping") && why.starts_with("line "),
            "{why}"
        );
    }
    assert!(fault(&["3", "1.234"], "").starts_with("line 3: `1.234` is 1.234 or 1234"));
    assert_eq!(prices(&["3", "1.234"], "decimal = \".\"").unwrap(), ["3", "1.234"]);
    assert_eq!(prices(&["3", "1.234"], "decimal = \",\"").unwrap(), ["3", "1234"]);
    // What contradicts a declared mark is not bent to it.
    assert!(fault(&["0.71"], "decimal = \",\"").contains("line 2: `0.71` is not a number whose decimal mark is `,`"));
    for cells in ["1.23.456", "1,23,456.78", "12 34", "1.2.3", "0.7.1"] {
        assert!(fault(&[cells], "").contains("is not a price"), "{cells}");
    }
    // Sizes of machines are numbers of the same list.
    let sized = "columns.vcpus = \"CPUs\"\ncolumns.memory_gib = \"RAM\"";
    let of = |list: &str| {
        let text = format!(
            "provider = \"acme\"\nclass = \"gpu_cloud\"\nsource = \"offer\"\nmarket = \"on_demand\"\n{sized}\n\
             columns.instance_type = \"SKU\"\ncolumns.price = \"Preis\"\n"
        );
        let mapping: Mapping = sizewell::data_file::parse_toml("m.toml", &text).unwrap();
        import::read(&mapping, list, &tables(), TODAY)
    };
    let fetched = of("SKU;Preis;CPUs;RAM\nbig;12;96;1.024\nsmall;0,5;4;15,5\n").unwrap();
    assert_eq!(fetched.shapes[0].memory_gib, Some(1024.0));
    assert_eq!(fetched.shapes[1].memory_gib, Some(15.5));
    assert!(of("SKU,Preis,CPUs,RAM\nbig,12,96,\"1,024\"\n").unwrap_err().contains("`1,024` is 1024 or 1.024"));
}

#[test]
fn what_is_no_price_is_said_with_its_line() {
    for (cell, part) in [
        ("-5", "below 0"),
        ("(5.00)", "below 0"),
        ("5-", "below 0"),
        ("\u{2212}5 USD", "below 0"),
        ("NaN", "is not a price"),
        ("inf", "is not a price"),
        ("-inf", "is not a price"),
        ("1e9999", "is not a price"),
        ("cheap", "is not a price"),
        ("from 1.20", "is not a price"),
        ("1e9", "no machine costs more than 100000"),
        ("1000000", "no machine costs more than 100000"),
        ("0.00001", "no machine costs less than 0.0001"),
        ("1e-40", "line 3"),
        ("99999999999999999999999999999999", "is not a price"),
    ] {
        let why = fault(&["0.71", cell], "");
        assert!(why.starts_with("line 3: ") && why.contains(part), "{cell}: {why}");
    }
    // A price that is not known is none, and so is 0.
    assert_eq!(prices(&["0.71", "", "N/A", "-", "0", "0.00"], "").unwrap()[1..], ["none"; 5]);
    assert!(fault(&["", "0"], "").contains("there is no price in it (2 rows, 1 of them with 0)"));
}

#[test]
fn currencies_and_times_are_declared_or_refused() {
    assert_eq!(prices(&["$1.20", "US$ 1.30", "1.40 USD", "USD 1.50/h", "1.60/hr"], "").unwrap()[3], "1.5");
    assert!(fault(&["1.20 €"], "").contains("line 2: prices in EUR: set usd_per_unit"));
    assert!(fault(&["£1.20"], "").contains("prices in GBP"));
    assert!(fault(&["CHF 1.20"], "").contains("prices in CHF"));
    assert!(fault(&["¥120"], "").contains("prices in JPY/CNY"));
    assert_eq!(prices(&["1.20 €", "2 EUR"], "usd_per_unit = 1.5").unwrap(), ["1.8", "3"]);
    assert!(fault(&["$1.20", "1.20 €"], "usd_per_unit = 1.5").contains("line 3: a price in EUR, and line 2 has $"));
    assert!(fault(&["1.20 USD"], "usd_per_unit = 1.1").contains("prices in USD, and the mapping multiplies"));
    assert!(fault(&["730 USD/month"], "").contains("set per = \"month\""));
    assert_eq!(prices(&["730 USD/month"], "per = \"month\"").unwrap(), ["1"]);
    assert!(fault(&["1 USD/h"], "per = \"month\"").contains("the mapping says month: set per = \"hour\""));
    // The name of the column, and a column of its own, speak for all rows.
    let named = |column: &str, more: &str, row: &str| {
        let mut of = mapping("");
        of.columns.price = column.to_string();
        import::read(&of, &format!("SKU,{column}{more}\nt,{row}\n"), &tables(), TODAY).map(|fetched| fetched.prices)
    };
    assert!(named("EUR/h", "", "1.20").unwrap_err().contains("line 1: prices in EUR"));
    assert!(named("Price per month (USD)", "", "730").unwrap_err().contains("set per = \"month\""));
    assert!(named("price", ",Currency", "1.20,EUR").unwrap_err().contains("line 2: prices in EUR"));
    assert!(named("price", ",currency", "1.20,XAU").unwrap_err().contains("`XAU` is no currency that is known here"));
    assert!(named("price", ",currency", "1.20,USD").is_ok());
}

#[test]
fn two_rows_of_one_thing_agree_or_are_named() {
    let with_day = |list: &str| {
        let mut of = mapping("");
        of.columns.observed_at = Some("Tag".to_string());
        import::read(&of, list, &tables(), TODAY)
    };
    assert_eq!(read("SKU,Preis\na,1\na,1.0\nb,2\n", "").unwrap().len(), 2);
    let why = read("SKU,Preis\na,1\nb,2\na,0.5\n", "").unwrap_err();
    assert!(why.contains("line 4: a (any, on_demand) costs 0.5 USD, and 1 on line 2"), "{why}");
    // Where days say which is the newer, it is that one, wherever it stands.
    for list in [
        "SKU,Preis,Tag\na,1,2026-11-02\na,0.5,2026-11-01\n",
        "SKU,Preis,Tag\na,0.5,2026-11-01\na,1,2026-11-02T08:00:00Z\n",
    ] {
        let fetched = with_day(list).unwrap();
        assert_eq!((fetched.prices.len(), fetched.prices[0].usd), (1, Some(1.into())));
        assert!(fetched.notes[0].contains("1 rows are older"), "{:?}", fetched.notes);
    }
    let cards = |list: &str| {
        let mut of = mapping("");
        (of.columns.accelerator, of.columns.accelerator_count) = (Some("Karte".into()), Some("Anzahl".into()));
        of.columns.region = Some("Ort".into());
        import::read(&of, list, &tables(), TODAY)
    };
    let why = cards("SKU,Preis,Karte,Anzahl,Ort\na,1,L4,1,x\na,8,L4,8,y\n").unwrap_err();
    assert!(why.contains("line 3: a has 8 x nvidia/l4-24, not 1 x nvidia/l4-24 as on line 2"), "{why}");
    assert!(cards("SKU,Preis,Karte,Anzahl,Ort\na,1,L4,0,x\n").unwrap_err().contains("line 2: 0 of `L4`"));
    assert!(read("SKU,Preis,Preis\na,1,2\n", "").unwrap_err().contains("two columns are called `Preis`"));
}

#[test]
fn a_list_that_is_imported_again_says_what_things_are_anew() {
    let mut tables = tables();
    let mut take = |count: &str, provider: &str, class: &str| {
        let text = format!(
            "provider = \"{provider}\"\nclass = \"{class}\"\nsource = \"offer\"\nmarket = \"on_demand\"\n[columns]\n\
             instance_type = \"SKU\"\nprice = \"Preis\"\naccelerator = \"Karte\"\naccelerator_count = \"Anzahl\"\n"
        );
        let mapping: Mapping = sizewell::data_file::parse_toml("m.toml", &text).unwrap();
        let list = format!("SKU,Preis,Karte,Anzahl\nbox,8,L4,{count}\n");
        let fetched = import::read(&mapping, &list, &tables, TODAY)?;
        let outcome = adopt::adopt(&mut tables, provider, fetched, TODAY);
        match outcome.error {
            Some(why) => Err(why),
            None => Ok(tables.shapes[provider]
                .iter()
                .find(|row| row.value.instance_type == "box")
                .unwrap()
                .value
                .accelerator_count),
        }
    };
    assert_eq!(take("1", "acme", "gpu_cloud"), Ok(Some(1.0)));
    assert_eq!(take("8", "acme", "marketplace"), Ok(Some(8.0)), "a count that was corrected is the new one");
    assert!(take("8", "lambda", "hyperscaler").unwrap_err().contains("class `gpu_cloud` in the catalog"));
}

#[test]
fn letters_and_signs_between_fields_are_found() {
    let bytes = |text: &str, big: bool| -> Vec<u8> {
        let unit = |u: u16| if big { u.to_be_bytes() } else { u.to_le_bytes() };
        format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect()
    };
    let list = "SKU\tPreis\r\nMünchen-L4\t0,71\r\n";
    for bytes in
        [bytes(list, false), bytes(list, true), format!("\u{feff}{list}").into_bytes(), list.as_bytes().to_vec()]
    {
        let rows = read(&import::decode(bytes, None).unwrap(), "").unwrap();
        assert_eq!((rows[0].instance_type.as_str(), rows[0].usd.unwrap().to_string().as_str()), ("München-L4", "0.71"));
    }
    for list in
        ["SKU;Preis\na;0,71\n", "SKU|Preis\na|0.71\n", "sep=;\nSKU;Preis\na;0,71\n", "SKU,Preis,\n\na,0.71,\n,,\n"]
    {
        assert_eq!(read(list, "").unwrap()[0].usd.unwrap().to_string(), "0.71", "{list:?}");
    }
    let latin = std::fs::read(case("latin1.csv")).unwrap();
    let encoding = mapping("encoding = \"latin-1\"").encoding;
    assert!(import::decode(latin, encoding).unwrap().contains("München-L4"));
    // An unquoted decimal comma is a field too many.
    let why = read("SKU,Preis\na,0,71\n", "").unwrap_err();
    assert!(why.contains("line 2 has 3 fields and the header 2; a decimal comma"), "{why}");
    for (cell, shown) in [("\u{1b}[31mred", "\\u{1b}[31mred"), ("a\u{202e}b", "a\\u{202e}b"), ("a\nb", "a\\u{a}b")] {
        let why = read(&format!("SKU,Preis\nok,1\n\"{cell}\",1\n"), "").unwrap_err();
        assert!(why.starts_with("line 3: ") && why.contains(shown) && !why.contains(cell), "{why:?}");
    }
}

#[test]
fn days_that_cannot_be_are_said() {
    let at = |day: &str, today: Date| {
        let mut of = mapping("");
        of.columns.observed_at = Some("Tag".to_string());
        import::read(&of, &format!("SKU,Preis,Tag\na,1,{day}\n"), &tables(), today).map(|f| f.prices[0].observed_at)
    };
    assert_eq!(at("2026-11-01T00:00:00Z", TODAY), Ok(Some(date(2026, 11, 1))));
    assert_eq!(at("", TODAY), Ok(Some(date(2026, 11, 20))));
    for (day, part) in [
        ("9999-12-31", "has not been yet (it is 2026-11-27"),
        ("2026-11-28", "has not been yet"),
        ("1970-01-01", "no day of a price"),
        ("0001-01-01", "no day of a price"),
        ("2026-02-30", "is not a day like"),
        ("2026-11-01x", "is not a day like"),
        ("11/01/2026", "is not a day like"),
        ("99999-01-01", "is not a day like"),
    ] {
        let why = at(day, TODAY).unwrap_err();
        assert!(why.starts_with("line 2: ") && why.contains(part), "{day}: {why}");
    }
    assert!(at("", date(1970, 1, 1)).unwrap_err().contains("by the clock of this machine"));
}
