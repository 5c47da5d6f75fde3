//! What `catalog check` finds: each anomaly that public catalogs were seen with, on a catalog that has just that one.

use jiff::civil::{Date, date};
use sizewell::catalog::check::check;
use sizewell::catalog::finding::{Finding, Severity};
use sizewell::catalog::load::embedded_files;
use sizewell::catalog::tables::Files;
use sizewell::catalog::{Catalog, Market, import};
use std::borrow::Cow;

const TODAY: Date = date(2026, 11, 24);

fn errors(files: &Files) -> Vec<Finding> {
    check("embedded", files, TODAY).into_iter().filter(|f| f.severity == Severity::Error).collect()
}

/// The shipped files with a change to one of them.
fn changed(file: &str, change: impl Fn(&str) -> String) -> Files {
    let mut files = embedded_files();
    let text = files[file].clone();
    let new = change(&text);
    assert_ne!(new, text, "the change changes nothing");
    files.insert(file.to_string(), Cow::Owned(new));
    files
}

/// Adders and carbon are money and grams too.
#[test]
fn what_comes_on_top_is_checked() {
    const A: &str = "adders.csv";
    let first = |from: &'static str, to: &'static str| move |text: &str| text.replacen(from, to, 1);
    for (files, kind) in [
        (changed(A, first(",gb,", ",mb,")), "wrong_unit"),
        (changed(A, first("\naws,", "\nawz,")), "unknown_provider"),
        (changed(A, first(",egress,0", ",egress,-0")), "negative_amount"),
        (changed("carbon.csv", first("\naws,", "\nawz,")), "unknown_provider"),
        (changed("prices/aws.csv", first("2026-07-20", "2027-07-20")), "from_the_future"),
    ] {
        let found = errors(&files);
        assert!(found.iter().any(|finding| finding.kind == kind && finding.line > 0), "{kind}: {found:?}");
    }
    // A tier that is gone leaves a gap.
    let gap = changed(A, |text| {
        let tier = text.lines().find(|line| line.starts_with("aws,any,egress") || line.contains(",egress,")).unwrap();
        text.replacen(&format!("{tier}\n"), "", 1)
    });
    assert!(errors(&gap).iter().any(|finding| finding.kind == "broken_tiers"), "{:?}", errors(&gap));
}

#[test]
fn the_shipped_catalog_passes_its_own_check() {
    let findings = errors(&embedded_files());
    assert!(findings.is_empty(), "{}", findings.iter().map(|f| format!("{f}\n")).collect::<String>());
    let catalog = Catalog::embedded().unwrap();
    for provider in ["aws", "gcp", "azure", "lambda", "runpod", "crusoe", "oci", "aws-sagemaker", "modal"] {
        assert!(catalog.offers.iter().any(|o| &*o.shape.provider == provider && o.shape.accelerator.is_some()));
    }
    for offer in &catalog.offers {
        assert!(catalog.sources.contains_key(&*offer.source), "{}", offer.name());
        let dated =
            offer.observed_at.is_some() || offer.flags.iter().any(|f| f.contains("as_of") || f.contains("stale"));
        assert!(dated, "{} has neither a date nor a flag that says so", offer.name());
    }
}

/// What public lists get wrong about types: shares of a card, cards that cannot be bought on demand, larger types that are
/// cheaper for having fewer cards.
#[test]
fn types_are_what_they_are() {
    let catalog = Catalog::embedded().unwrap();
    let of = |name: &'static str| catalog.offers.iter().filter(move |o| &*o.shape.instance_type == name);
    let count = |name: &'static str| of(name).next().unwrap_or_else(|| panic!("{name}")).shape.accelerator_count;
    assert_eq!((count("g6f.large"), count("g6f.2xlarge"), count("g6f.4xlarge")), (0.125, 0.25, 0.5));
    assert_eq!((count("g2-standard-24"), count("g2-standard-32")), (2.0, 1.0));
    let on_demand = |name: &'static str| of(name).filter(|o| o.market == Market::OnDemand);
    assert!(on_demand("a3-highgpu-1g").all(|o| o.unrankable().is_some_and(|why| why.contains("flex-start"))));
    assert!(of("a3-highgpu-1g").any(|o| o.market == Market::Spot && o.unrankable().is_none()));
    for offer in &catalog.offers {
        let whole = offer.shape.accelerator_count.fract() == 0.0 || offer.shape.accelerator_count < 1.0;
        assert!(whole, "{} has {} cards", offer.name(), offer.shape.accelerator_count);
    }
}

#[test]
fn prices_that_cannot_be_are_found_with_file_line_and_remedy() {
    const P: &str = "prices/lambda.csv";
    let first = |from: &'static str, to: &'static str| move |text: &str| text.replacen(from, to, 1);
    let cases: Vec<(&str, Files, &str)> = vec![
        ("a price of 0", changed(P, first(",1.29,hour", ",0.0,hour")), "non_positive_price"),
        ("a price below 0", changed(P, first(",1.29,hour", ",-1,hour")), "non_positive_price"),
        ("text for a price", changed(P, first(",1.29,hour", ",cheap,hour")), "unreadable"),
        (
            "a card at a cent",
            changed(P, first("europe-central-1,,on_demand,4.29", "europe-central-1,,on_demand,0.01")),
            "price_outlier",
        ),
        (
            "a total price as that of one card",
            changed(
                P,
                first(
                    "gpu_1x_h100_sxm5,europe-central-1,,on_demand,4.29",
                    "gpu_1x_h100_sxm5,europe-central-1,,on_demand,34.32",
                ),
            ),
            "price_outlier",
        ),
        (
            "spot above on demand",
            changed(P, |t| {
                format!("{t}gpu_1x_a10,europe-central-1,,spot,1.964,hour,,,shared,linux,2026-05-20,anycloud-lambda,,\n")
            }),
            "spot_above_on_demand",
        ),
        ("a dedicated host", changed(P, first("shared,linux", "dedicated,linux")), "wrong_tenancy"),
        ("a Windows licence", changed(P, first("shared,linux", "shared,windows")), "wrong_tenancy"),
        ("a row twice", changed(P, |t| format!("{t}{}\n", t.lines().nth(1).unwrap())), "duplicate_key"),
        ("a type without a shape", changed(P, first("gpu_1x_a10,", "gpu_1x_a11,")), "no_shape"),
        ("a source that is not there", changed(P, first("anycloud-lambda", "somebody")), "unknown_source"),
        ("an unknown market", changed(P, first("on_demand", "sometimes")), "unreadable"),
        ("an unknown column", changed(P, first("instance_type,", "instance_typo,")), "unreadable"),
        ("an empty list", changed(P, |t| format!("{}\n", t.lines().next().unwrap())), "empty_list"),
    ];
    are_found(cases);
}

#[test]
fn types_and_cards_that_cannot_be_are_found_with_file_line_and_remedy() {
    let first = |from: &'static str, to: &'static str| move |text: &str| text.replacen(from, to, 1);
    let cases: Vec<(&str, Files, &str)> = vec![
        ("no count of cards", changed("shapes/lambda.csv", first("nvidia/a10-24,1,", "nvidia/a10-24,,")), "bad_shape"),
        ("a CPU that is not there", changed("shapes/aws.csv", first("amd/genoa", "amd/geneva")), "unknown_cpu"),
        (
            "a provider that is not there",
            changed("providers.csv", first("lambda,Lambda", "lambada,Lambada")),
            "unknown_provider",
        ),
        (
            "one region out of line",
            changed("prices/aws.csv", |t| {
                t.replacen("g6.xlarge,us-east-1,,on_demand,0.8048", "g6.xlarge,us-east-1,,on_demand,0.40", 1)
            }),
            "region_outlier",
        ),
        ("a sparse rate", changed("accelerators.csv", first(",989,", ",1979,")), "sparse_rate"),
        (
            "more bandwidth than the bus has",
            changed("accelerators.csv", first("pcie,24,23034,300,", "pcie,24,23034,3350,")),
            "bandwidth_above_bus",
        ),
    ];
    are_found(cases);
}

fn are_found(cases: Vec<(&str, Files, &str)>) {
    for (what, files, kind) in cases {
        let found = errors(&files);
        let finding = found.iter().find(|f| f.kind == kind).unwrap_or_else(|| panic!("{what}: {found:?}"));
        assert!(finding.file.starts_with("instance-catalog/") && !finding.remedy.is_empty(), "{finding}");
        assert!(finding.line > 0 || matches!(kind, "empty_list" | "unknown_provider"), "{what}: {finding}");
    }
}

#[test]
fn a_constant_of_the_list_is_no_spot_price() {
    // Azure's spot prices were 0.185 of the on-demand price whatever the region.
    let files = changed("prices/azure.csv", |text| {
        let mut out = text.to_string();
        for line in text.lines().filter(|line| line.starts_with("Standard_NC") && line.contains(",on_demand,")) {
            let fields: Vec<&str> = line.split(',').collect();
            let spot: f64 = fields[4].parse::<f64>().unwrap() * 0.185;
            out.push_str(&format!(
                "{},{},,spot,{spot:.9},hour,,,shared,linux,2026-11-24,karpenter-azure,,\n",
                fields[0], fields[1]
            ));
        }
        out
    });
    let found = errors(&files);
    assert!(found.iter().filter(|f| f.kind == "nominal_spot").count() > 50, "{}", found.len());
}

#[test]
fn an_unknown_accelerator_is_kept_with_a_warning() {
    let files = changed("shapes/lambda.csv", |text| text.replacen("nvidia/a10-24,1,", "RTX4070,1,", 1));
    assert!(errors(&files).is_empty());
    let warning = check("embedded", &files, TODAY).into_iter().find(|f| f.kind == "unknown_accelerator").unwrap();
    assert!(warning.message.contains("RTX4070") && warning.remedy.contains("aliases"), "{warning}");
    let catalog = Catalog::from_files("embedded", &files).unwrap();
    let offer = catalog.offers.iter().find(|o| &*o.shape.instance_type == "gpu_1x_a10").unwrap();
    assert_eq!((offer.shape.accelerator.as_deref(), catalog.accelerator(offer)), (Some("RTX4070"), None));
}

#[test]
fn stale_prices_are_warned_of_by_market() {
    let on = |today: Date| check("embedded", &embedded_files(), today);
    let stale = |findings: &[Finding], file: &str| {
        findings.iter().filter(|f| f.kind == "stale" && f.file.ends_with(file)).count()
    };
    // GCP's prices are of 2026-08-03: two days later the spot ones are stale and the list is not.
    let soon = on(date(2026, 8, 5));
    let gcp: Vec<&Finding> = soon.iter().filter(|f| f.kind == "stale" && f.file.ends_with("gcp.csv")).collect();
    assert!(gcp.iter().any(|f| f.message.contains("spot prices")), "{gcp:?}");
    assert!(!gcp.iter().any(|f| f.message.contains("on_demand prices") && f.message.contains("2026-08-03")), "{gcp:?}");
    assert!(stale(&on(TODAY), "gcp.csv") > gcp.len() - 1);
}

const MAPPING: &str = r#"
provider = "acme"
class = "gpu_cloud"
source = "offer of ACME, 2026-11"
observed_at = "2026-11-20"
per = "month"
usd_per_unit = 1.10
decimal = "."
region = "eu"
[columns]
instance_type = "SKU"
price = "EUR/month"
market = "Kind"
accelerator = "Card"
accelerator_count = "Cards"
accelerator_memory_gib = "VRAM"
vcpus = "CPU"
memory_gib = "RAM"
[markets]
flex = "on_demand"
commit = "reserved_1y"
"#;

#[test]
fn a_users_list_is_imported_by_its_mapping() {
    let mapping: import::Mapping = sizewell::data_file::parse_toml("m.toml", MAPPING).unwrap();
    let (mut tables, _) = sizewell::catalog::tables::Tables::read("", &embedded_files());
    let header = "SKU,EUR/month,Kind,Card,Cards,VRAM,CPU,RAM\n";
    let list = format!(
        "\u{feff}{header}h1,\"2,190\",flex,H100 SXM,1,80,26,200\nh1,1460,commit,H100 SXM,1,80,26,200\nx1,0,flex,Foo9000,2,,8,32\n"
    );
    let fetched = import::read(&mapping, &list, &tables, TODAY).unwrap();
    let outcome = sizewell::catalog::adopt::adopt(&mut tables, "acme", fetched, TODAY);
    assert_eq!((outcome.error, outcome.rows), (None, 3));
    let catalog = Catalog::from_files("embedded", &tables.write().unwrap()).unwrap();
    let acme: Vec<_> = catalog.offers.iter().filter(|o| &*o.shape.provider == "acme").collect();
    // 2,190 EUR a month of 730 hours at 1.10 USD are 3.30 USD an hour.
    assert_eq!(acme[0].usd_per_h().unwrap().0.normalize().to_string(), "3.3");
    assert_eq!(acme[0].shape.accelerator.as_deref(), Some("nvidia/h100-sxm-80"));
    assert_eq!((acme[2].price, acme[2].unrankable()), (None, Some("it has no price")));
    for (text, part) in [
        (format!("{header}h1,many,flex,,,,,\n"), "line 2: `many` is not a price"),
        (format!("{header}h1,1,sometimes,,,,,\n"), "[markets] of the mapping"),
        (format!("{header},1,flex,,,,,\n"), "no instance type"),
        ("SKU,Kind\n".to_string(), "no column `EUR/month`"),
    ] {
        let error = import::read(&mapping, &text, &tables, TODAY).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let bad =
        |from: &str, to: &str| sizewell::data_file::parse_toml::<import::Mapping>("m.toml", &MAPPING.replace(from, to));
    let error = bad("class = ", "klass = ").unwrap_err().to_string();
    assert!(error.contains("m.toml:3") && error.contains("did you mean `class`"), "{error}");
    let odd = import::Mapping { provider: "../x".into(), ..mapping };
    assert!(import::read(&odd, header, &tables, TODAY).unwrap_err().contains("only a-z"));
}

/// A hostile file is an error or a smaller catalog, never a panic.
#[test]
fn no_byte_of_a_price_list_breaks_the_reader() {
    let files = embedded_files();
    let text = files["prices/lambda.csv"].clone();
    for (index, junk) in
        ["\u{0}", "\"", ",,,,", "\n", "9e999", "-", "\u{feff}", "=cmd()"].into_iter().cycle().take(400).enumerate()
    {
        let at = (index * 7919) % text.len();
        let mut broken = text.to_string();
        if broken.is_char_boundary(at) {
            broken.insert_str(at, junk);
        }
        let mut files = files.clone();
        files.insert("prices/lambda.csv".into(), Cow::Owned(broken));
        let _ = check("embedded", &files, TODAY);
        let _ = Catalog::from_files("embedded", &files);
    }
}
