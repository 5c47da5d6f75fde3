//! StepSnapshot prices from servers on this machine that answer as the public lists do, and misbehave as they do.

use crate::support::http::{Answer, Server};
use jiff::civil::{Date, date};
use sizewell::catalog::load::{embedded_files, folder_files};
use sizewell::catalog::price::{Market, PriceRow};
use sizewell::catalog::snapshot;
use sizewell::catalog::tables::Tables;
use sizewell::catalog::update::{List, Request, update};
use sizewell::catalog::{Catalog, adopt::Outcome};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TODAY: Date = date(2026, 11, 24);

/// The shipped catalog with only these types of these providers.
fn base(keep: &[(&str, &str)]) -> Tables {
    let (mut tables, findings) = Tables::read("", &embedded_files());
    assert!(findings.is_empty(), "{findings:?}");
    for (provider, rows) in &mut tables.prices {
        if keep.iter().any(|(p, _)| p == provider) {
            rows.retain(|row| keep.contains(&(provider.as_str(), row.value.instance_type.as_str())));
        }
    }
    tables
}

fn request(list: List, server: &Server, provider: &str, region: &str) -> Request {
    Request {
        lists: vec![list],
        providers: vec![provider.to_string()],
        regions: if region.is_empty() { Vec::new() } else { vec![region.to_string()] },
        endpoints: BTreeMap::from([(list, server.address.clone())]),
        timeout: Duration::from_secs(5),
        today: TODAY,
    }
}

fn run(tables: &mut Tables, request: &Request) -> Outcome {
    let mut outcomes = update(tables, request, |_| {});
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0)
}

fn price<'a>(tables: &'a Tables, provider: &str, name: &str, region: &str, market: Market) -> Option<&'a PriceRow> {
    let mut rows = tables.prices[provider].iter().map(|row| &row.value);
    rows.find(|row| row.instance_type == name && row.region == region && row.market == market)
}

fn usd(tables: &Tables, provider: &str, name: &str, region: &str, market: Market) -> String {
    let row = price(tables, provider, name, region, market);
    row.and_then(|row| row.usd).map_or("none".to_string(), |usd| usd.normalize().to_string())
}

fn azure_item(sku: &str, meter: &str, product: &str, price: &str, kind: &str, term: &str) -> String {
    let term = if term.is_empty() { String::new() } else { format!(",\"reservationTerm\":\"{term}\"") };
    format!(
        "{{\"currencyCode\":\"USD\",\"tierMinimumUnits\":0.0,\"retailPrice\":{price},\"unitPrice\":{price},\
         \"armRegionName\":\"eastus\",\"location\":\"US East\",\"effectiveStartDate\":\"2026-01-01T00:00:00Z\",\
         \"meterName\":\"{meter}\",\"productName\":\"{product}\",\"skuName\":\"{meter}\",\
         \"serviceName\":\"Virtual Machines\",\"unitOfMeasure\":\"1 Hour\",\"type\":\"{kind}\",\
         \"isPrimaryMeterRegion\":true,\"armSkuName\":\"{sku}\"{term}}}"
    )
}

const A100: &str = "Standard_NC24ads_A100_v4";

#[test]
fn azure_is_read_page_by_page_and_only_what_one_buys() {
    let busy = AtomicUsize::new(0);
    let server = Server::start(move |request, address| {
        if request.path.contains("page=2") {
            let items = [
                azure_item(A100, "NC24ads Spot", "NCads A100 v4 Series", "1.47", "Consumption", ""),
                azure_item(A100, "NC24ads", "NCads A100 v4 Series Windows", "4.777", "Consumption", ""),
                azure_item(A100, "NC24ads", "NCads A100 v4 Series", "20000.4", "Reservation", "1 Year"),
                azure_item("Standard_Unknown_v9", "X", "X Series", "1.0", "Consumption", ""),
                azure_item(A100, "NC24ads Low Priority", "NCads A100 v4 Series", "0.7", "Consumption", ""),
            ];
            return Answer::new(200, format!("{{\"Items\":[{}],\"NextPageLink\":null}}", items.join(",")));
        }
        // A server that is busy is asked again.
        if busy.fetch_add(1, Ordering::Relaxed) == 0 {
            return Answer::new(429, "").header("Retry-After", "0");
        }
        assert!(request.path.starts_with("/api/retail/prices?api-version="), "{}", request.path);
        let item = azure_item(A100, "NC24ads", "NCads A100 v4 Series", "3.673", "Consumption", "");
        Answer::new(200, format!("{{\"Items\":[{item}],\"NextPageLink\":\"{address}/api?page=2\"}}"))
    });
    let mut tables = base(&[("azure", A100)]);
    let outcome = run(&mut tables, &request(List::Azure, &server, "azure", "eastus"));
    assert_eq!((outcome.error, outcome.rows), (None, 3));
    assert_eq!(outcome.skipped.values().sum::<usize>(), 3, "{:?}", outcome.skipped);
    assert_eq!(usd(&tables, "azure", A100, "eastus", Market::OnDemand), "3.673");
    assert_eq!(usd(&tables, "azure", A100, "eastus", Market::Spot), "1.47");
    assert_eq!(usd(&tables, "azure", A100, "eastus", Market::Reserved1y), "2.283150685", "20,000.40 over 8,760 hours");
    let seen = price(&tables, "azure", A100, "eastus", Market::OnDemand).unwrap().observed_at;
    assert_eq!(seen, Some(TODAY));
    assert!(price(&tables, "azure", A100, "westeurope", Market::OnDemand).is_some(), "other regions keep theirs");
}

const AWS_HEADER: &str = "\"SKU\",\"OfferTermCode\",\"TermType\",\"Unit\",\"PricePerUnit\",\"Currency\",\
\"LeaseContractLength\",\"PurchaseOption\",\"OfferingClass\",\"Product Family\",\"Instance Type\",\"vCPU\",\
\"Physical Processor\",\"Memory\",\"Tenancy\",\"Operating System\",\"CapacityStatus\",\"Pre Installed S/W\",\"GPU\",\
\"Region Code\"";

struct AwsLine<'a> {
    name: &'a str,
    usd: &'a str,
    term: &'a str,
    lease: &'a str,
    tenancy: &'a str,
    os: &'a str,
    gpus: &'a str,
}

const AWS: AwsLine<'_> = AwsLine {
    name: "g5.xlarge",
    usd: "1.0060000000",
    term: "OnDemand",
    lease: "",
    tenancy: "Shared",
    os: "Linux",
    gpus: "1",
};

fn aws_line(line: &AwsLine<'_>) -> String {
    let AwsLine { name, usd, term, lease, tenancy, os, gpus } = line;
    let option = if lease.is_empty() { "" } else { "No Upfront" };
    format!(
        "\"S\",\"T\",\"{term}\",\"Hrs\",\"{usd}\",\"USD\",\"{lease}\",\"{option}\",\"standard\",\"Compute Instance\",\
         \"{name}\",\"4\",\"AMD EPYC\",\"1,024 GiB\",\"{tenancy}\",\"{os}\",\"Used\",\"NA\",\"{gpus}\",\"us-east-1\""
    )
}

fn aws_list(lines: &[String]) -> String {
    format!(
        "\"FormatVersion\",\"v1.0\"\n\"Disclaimer\",\"prices, and so on\"\n\"Publication Date\",\"2026-11-20\"\n\
         \"Version\",\"1\"\n\"OfferCode\",\"AmazonEC2\"\n{AWS_HEADER}\n{}\n",
        lines.join("\n")
    )
}

fn aws_server(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Server {
    Server::start(move |request, _| match request.path.as_str() {
        "/offers/v1.0/aws/AmazonEC2/current/region_index.json" => Answer::new(
            200,
            "{\"formatVersion\":\"v1.0\",\"regions\":{\"us-east-1\":{\"regionCode\":\"us-east-1\",\
             \"currentVersionUrl\":\"/offers/v1.0/aws/AmazonEC2/20261120/us-east-1/index.json\"}}}",
        ),
        "/offers/v1.0/aws/AmazonEC2/20261120/us-east-1/index.csv" => Answer::new(302, "").header("Location", "/moved"),
        "/moved" => answer(),
        other => Answer::new(404, format!("no {other}")),
    })
}

#[test]
fn the_aws_list_is_streamed_and_filtered() {
    let lines = [
        aws_line(&AWS),
        aws_line(&AwsLine { tenancy: "Dedicated", usd: "1.1", ..AWS }),
        aws_line(&AwsLine { os: "Windows", usd: "1.2", ..AWS }),
        aws_line(&AwsLine { usd: "0.0000000000", ..AWS }),
        aws_line(&AwsLine { term: "Reserved", lease: "1yr", usd: "0.634", ..AWS }),
        aws_line(&AwsLine { term: "Reserved", lease: "3yr", usd: "0.434", ..AWS }),
        aws_line(&AwsLine { name: "g99.xlarge", usd: "7.5", ..AWS }),
        aws_line(&AwsLine { name: "t9.nano", gpus: "", ..AWS }),
    ];
    let list = aws_list(&lines);
    let server = aws_server(move || Answer::new(200, list.clone()));
    let mut tables = base(&[("aws", "g5.xlarge")]);
    let outcome = run(&mut tables, &request(List::Aws, &server, "aws", "us-east-1"));
    assert_eq!((outcome.error, outcome.rows), (None, 4));
    assert_eq!(usd(&tables, "aws", "g5.xlarge", "us-east-1", Market::OnDemand), "1.006");
    assert_eq!(usd(&tables, "aws", "g5.xlarge", "us-east-1", Market::Reserved1y), "0.634");
    assert_eq!(usd(&tables, "aws", "g5.xlarge", "us-east-1", Market::Reserved3y), "0.434");
    // A type with a card that the catalog has never heard of is kept, and said to be unknown.
    let new = tables.shapes["aws"].iter().find(|row| row.value.instance_type == "g99.xlarge").unwrap();
    assert_eq!((new.value.accelerator.as_str(), new.value.memory_gib), ("that of g99", Some(1024.0)));
}

/// Whatever a server does, the provider keeps what it had.
#[test]
fn a_broken_list_changes_nothing() {
    let whole = aws_list(&[aws_line(&AWS), aws_line(&AwsLine { name: "g5.2xlarge", usd: "1.2", ..AWS })]);
    let (cut, slow) = (whole.clone(), whole.clone());
    let cases: Vec<(&str, Server)> = vec![
        ("status 500", aws_server(|| Answer::new(500, "busy"))),
        ("status 404", aws_server(|| Answer::new(404, ""))),
        ("no price of us-east-1", aws_server(|| Answer::new(200, aws_list(&[])))),
        ("there is no header", aws_server(|| Answer::new(200, "<html>maintenance</html>"))),
        ("", aws_server(move || Answer { cut_at: Some(cut.len() - 40), ..Answer::new(200, cut.clone()) })),
        (
            "timeout",
            aws_server(move || Answer { pause: Some(Duration::from_secs(3)), ..Answer::new(200, slow.clone()) }),
        ),
        ("more than 5 redirects", aws_server(|| Answer::new(302, "").header("Location", "/moved"))),
        ("not https", aws_server(|| Answer::new(302, "").header("Location", "ftp://elsewhere/x"))),
    ];
    for (part, server) in cases {
        let mut tables = base(&[("aws", "g5.xlarge"), ("aws", "g5.2xlarge")]);
        let before = tables.prices.clone();
        let request = Request { timeout: Duration::from_secs(1), ..request(List::Aws, &server, "aws", "us-east-1") };
        let outcome = run(&mut tables, &request);
        let why = outcome.error.unwrap_or_else(|| panic!("`{part}` was taken"));
        assert!(why.contains(part) || (part == "not https" && why.contains("not followed")), "{part}: {why}");
        assert_eq!(tables.prices, before, "{part}");
    }
}

#[test]
fn a_list_that_is_out_of_line_is_refused_or_flagged() {
    let empty = Server::start(|_, _| Answer::new(200, "{\"Items\":[],\"NextPageLink\":null}"));
    let mut tables = base(&[("azure", A100)]);
    let outcome = run(&mut tables, &request(List::Azure, &empty, "azure", "eastus"));
    assert!(outcome.error.unwrap().contains("holds no price"));
    // Spot above on demand is kept with a flag, and never ranked.
    let odd = Server::start(|_, _| {
        let items = [
            azure_item(A100, "NC24ads", "NCads A100 v4 Series", "3.673", "Consumption", ""),
            azure_item(A100, "NC24ads Spot", "NCads A100 v4 Series", "7", "Consumption", ""),
        ];
        Answer::new(200, format!("{{\"Items\":[{}],\"NextPageLink\":\"\"}}", items.join(",")))
    });
    let outcome = run(&mut tables, &request(List::Azure, &odd, "azure", "eastus"));
    assert_eq!((outcome.error, outcome.flagged), (None, 1));
    assert!(price(&tables, "azure", A100, "eastus", Market::Spot).unwrap().has_flag("spot_above_on_demand"));
    let euros = Server::start(|_, _| {
        let item = azure_item(A100, "NC24ads", "NCads A100 v4 Series", "3.673", "Consumption", "");
        Answer::new(200, format!("{{\"Items\":[{}]}}", item.replace("USD", "EUR")))
    });
    let outcome = run(&mut tables, &request(List::Azure, &euros, "azure", "eastus"));
    assert!(outcome.error.unwrap().contains("EUR"));
}

/// The host of a large machine makes its one card look dear: what was confirmed stays confirmed.
#[test]
fn a_confirmed_price_stays_confirmed_while_it_is_about_the_same() {
    let at = |usd: &'static str| {
        let list = aws_list(&[aws_line(&AwsLine { name: "g4dn.16xlarge", usd, ..AWS })]);
        let server = aws_server(move || Answer::new(200, list.clone()));
        let (mut tables, _) = Tables::read("", &embedded_files());
        let keep = |row: &sizewell::catalog::tables::Row<PriceRow>| {
            row.value.region != "us-east-1" || row.value.instance_type == "g4dn.16xlarge"
        };
        tables.prices.get_mut("aws").unwrap().retain(keep);
        let outcome = run(&mut tables, &request(List::Aws, &server, "aws", "us-east-1"));
        assert_eq!(outcome.error, None);
        price(&tables, "aws", "g4dn.16xlarge", "us-east-1", Market::OnDemand).unwrap().flags.clone()
    };
    assert_eq!(at("4.3520000000"), "price_outlier_confirmed");
    assert_eq!(at("9.3520000000"), "price_outlier;region_outlier");
}

#[test]
fn skypilot_adds_hosts_and_accelerators_and_takes_0_for_unknown() {
    let list = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Price,SpotPrice,Region,AvailabilityZone\n\
        a2-highgpu-1g,12,85,,,,0.94,0.28,us-central1,us-central1-a\n\
        a2-highgpu-1g,12,85,,,,0.94,,us-east1,us-east1-b\n\
        ,,,A100,1,\"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 40960}}]}\",2.934,0.88,us-central1,us-central1-a\n";
    let runpod = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price\n\
        1x_H100_SECURE,H100,1,16,80,\"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 80}}]}\",US,0.0,3.99\n\
        1x_RTX4070_SECURE,RTX4070,1,8,30,\"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 12}}]}\",US,0.1,0.25\n";
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/catalogs/v8/gcp/vms.csv" => Answer::new(200, list),
        "/catalogs/v8/runpod/vms.csv" => Answer::new(200, runpod),
        _ => Answer::new(404, ""),
    });
    let mut tables = base(&[("gcp", "a2-highgpu-1g"), ("runpod", "pod:A40 (secure)")]);
    let outcome = run(&mut tables, &request(List::Skypilot, &server, "gcp", "us-central1"));
    assert_eq!((outcome.error, outcome.rows), (None, 2));
    assert_eq!(usd(&tables, "gcp", "a2-highgpu-1g", "us-central1", Market::OnDemand), "3.874");
    assert_eq!(usd(&tables, "gcp", "a2-highgpu-1g", "us-central1", Market::Spot), "1.16");
    let outcome = run(&mut tables, &request(List::Skypilot, &server, "runpod", "US"));
    assert_eq!((outcome.error.as_deref(), outcome.rows), (None, 3));
    assert_eq!(price(&tables, "runpod", "1x_H100_SECURE", "US", Market::Spot), None, "0 is not a price");
    let shape = |name: &str| &tables.shapes["runpod"].iter().find(|row| row.value.instance_type == name).unwrap().value;
    assert_eq!(shape("1x_H100_SECURE").accelerator, "nvidia/h100-sxm-80");
    assert_eq!(shape("1x_RTX4070_SECURE").accelerator, "RTX4070", "a card that is not known is kept by its name");
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn gpuhunt_lists_stand_alone_and_one_provider_does_not_hold_up_another() {
    let header =
        "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags\n";
    let lambda = format!("{header}gpu_1x_h100_sxm5,us-east-1,4.29,26,225,1,H100,80.0,False,,nvidia,\n");
    let gcp = format!(
        "{header}g2-standard-4,us-central1-a,0.7068,4,16,1,L4,24.0,False,,nvidia,\n\
         g2-standard-4,us-central1-a,0.2827,4,16,1,L4,24.0,True,,nvidia,\n\
         g2-standard-4,us-central1-a,0.3111,4,16,1,L4,24.0,False,,nvidia,gcp-dws-calendar-mode\n"
    );
    let lists = [("lambdalabs", lambda), ("gcp", gcp), ("oci", "not,a,list\n1,2\n".to_string())];
    let zips = lists.map(|(name, list)| (name, zip(&[(&format!("{name}.csv"), &list)])));
    let server = Server::start(move |request, _| {
        let of = |name: &str| zips.iter().find(|(zipped, _)| *zipped == name).map(|(_, zip)| zip.clone());
        match request.path.split('/').collect::<Vec<_>>().as_slice() {
            ["", "v3", name, "version"] if of(name).is_some() => Answer::new(200, "20261120-42\n"),
            ["", "v3", name, "20261120-42", "catalog.zip"] => {
                of(name).map_or(Answer::new(404, ""), |zip| Answer::new(200, zip))
            }
            _ => Answer::new(404, ""),
        }
    });
    let mut tables = base(&[("lambda", "gpu_1x_h100_sxm5"), ("gcp", "g2-standard-4")]);
    let before = tables.prices["oci"].clone();
    let request = Request {
        providers: vec!["lambda".into(), "gcp".into(), "oci".into(), "nebius".into()],
        regions: vec!["us-central1".into(), "us-east-1".into()],
        ..request(List::Gpuhunt, &server, "", "us-central1")
    };
    let outcomes = update(&mut tables, &request, |_| {});
    let error = |name: &str| outcomes.iter().find(|o| o.provider == name).unwrap().error.clone();
    assert_eq!((error("lambda"), error("gcp")), (None, None));
    assert!(error("oci").is_some() && error("nebius").unwrap().contains("404"), "{outcomes:?}");
    assert_eq!(tables.prices["oci"], before);
    let row = price(&tables, "gcp", "g2-standard-4", "us-central1", Market::OnDemand).unwrap();
    assert_eq!((row.zone.as_str(), row.observed_at), ("us-central1-a", Some(date(2026, 11, 20))));
    assert_eq!(server.requests().len(), 7, "a version and a zip of each, and no version of one");
    // What was adopted becomes a folder that is a catalog; a second snapshot takes the place of the first.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("data/catalog");
    snapshot::write(&place, &tables, &outcomes).unwrap();
    let catalog = Catalog::from_folder(&place).unwrap();
    assert!(catalog.offers.iter().any(|o| &*o.shape.instance_type == "g2-standard-4" && o.zone.is_some()));
    let header = snapshot::header(&place).unwrap();
    assert!(header.providers["oci"].last.error.is_some() && header.providers["oci"].last_ok.is_none());
    assert_eq!(header.providers["gcp"].last_ok.as_ref().unwrap().rows, 2);
    snapshot::write(&place, &tables, &[]).unwrap();
    assert_eq!(snapshot::header(&place).unwrap().providers, header.providers);
    assert_eq!(folder_files(&place).unwrap().len(), tables.write().unwrap().len());
    assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    // A version that is an address elsewhere is not one.
    let hostile = Server::start(|_, _| Answer::new(200, "../../etc"));
    let request = Request { endpoints: BTreeMap::from([(List::Gpuhunt, hostile.address.clone())]), ..request };
    assert!(update(&mut tables, &request, |_| {}).iter().all(|o| o.error.as_ref().unwrap().contains("not a version")));
}
