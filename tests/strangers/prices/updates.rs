//! Public lists with rows that are not as they should be: the row is passed over and counted, the others are taken.

use super::super::support::http::{Answer, Server};
use super::{TODAY, tables};
use sizewell::catalog::adopt::Outcome;
use sizewell::catalog::tables::Tables;
use sizewell::catalog::update::{List, Request, update};
use std::collections::BTreeMap;
use std::time::Duration;

fn asked(
    list: List,
    provider: &str,
    answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (Outcome, Tables) {
    let server = Server::start(move |request, _| match answer(&request.path) {
        Some(body) => Answer::new(200, body),
        None => Answer::new(404, ""),
    });
    let request = Request {
        lists: vec![list],
        providers: vec![provider.to_string()],
        regions: vec!["US".to_string()],
        endpoints: BTreeMap::from([(list, server.address.clone())]),
        timeout: Duration::from_secs(5),
        today: TODAY,
    };
    let mut tables = tables();
    tables.prices.remove(provider);
    let outcome = update(&mut tables, &request, |_| {}).remove(0);
    (outcome, tables)
}

/// What is odd about the rows, and how often.
const ODD: [(&str, usize); 4] = [
    ("a row that cannot be read", 2),
    ("a name with control characters, or that would be a formula", 2),
    ("a price that no machine has", 1),
    ("another price of the same type, place and market in the list is higher, and was taken", 1),
];

fn check(outcome: &Outcome, tables: &Tables) {
    assert_eq!(outcome.error, None);
    for (why, count) in ODD {
        assert_eq!(outcome.skipped.get(why), Some(&count), "{why}: {:?}", outcome.skipped);
    }
    let rows = &tables.prices[&outcome.provider];
    let usd = |name: &str| {
        let mut found = rows.iter().filter(|row| row.value.instance_type == name && row.value.region == "US");
        (found.next().and_then(|row| row.value.usd).map(|usd| usd.to_string()), found.next().is_none())
    };
    assert_eq!(usd("good"), (Some("0.8".to_string()), true));
    assert_eq!(usd("twice"), (Some("0.9".to_string()), true), "the cheaper one does not win in silence");
    assert_eq!(usd("odd-card"), (Some("0.7".to_string()), true));
    assert!(rows.iter().all(|row| !row.value.instance_type.contains('\u{1b}')));
    // A card that nobody here knows is named.
    assert!(
        outcome.to_string().contains("  1 card is not in accelerators.csv: listed, not ranked\n    Foo9000 (odd-card)")
    );
}

#[test]
fn skypilots_list() {
    let list = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price\n\
        good,L4,1,8,30,,US,,0.8\n\
        bad-number,L4,one,8,30,,US,,0.8\n\
        short,L4,1\n\
        red\u{1b}[31m,L4,1,8,30,,US,,0.8\n\
        =cmd,L4,1,8,30,,US,,0.8\n\
        dear,L4,1,8,30,,US,,1e9\n\
        below,L4,1,8,30,,US,-0.2,-0.8\n\
        twice,L4,1,8,30,,US,,0.9\n\
        twice,L4,1,8,30,,US,,0.09\n\
        odd-card,Foo9000,1,8,30,,US,,0.7\n";
    let (outcome, tables) =
        asked(List::Skypilot, "runpod", move |path| path.ends_with("/runpod/vms.csv").then(|| list.into()));
    check(&outcome, &tables);
    assert_eq!(outcome.skipped.get("a price below 0"), Some(&2));
    let (outcome, _) = asked(List::Skypilot, "runpod", |_| Some("<html>maintenance</html>".into()));
    assert!(outcome.error.unwrap().contains("there is no column InstanceType"));
}

#[test]
fn gpuhunts_list() {
    let list = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags\n\
        good,US,0.8,8,30,1,L4,24,False,,nvidia,\n\
        bad-number,US,0.8,eight,30,1,L4,24,False,,nvidia,\n\
        short,US,0.8\n\
        red\u{1b}[31m,US,0.8,8,30,1,L4,24,False,,nvidia,\n\
        =cmd,US,0.8,8,30,1,L4,24,False,,nvidia,\n\
        dear,US,1000000,8,30,1,L4,24,False,,nvidia,\n\
        below,US,-0.8,8,30,1,L4,24,False,,nvidia,\n\
        none,US,NaN,8,30,1,L4,24,False,,nvidia,\n\
        no-count,US,0.8,8,30,nan,L4,24,False,,nvidia,\n\
        twice,US,0.09,8,30,1,L4,24,False,,nvidia,\n\
        twice,US,0.9,8,30,1,L4,24,False,,nvidia,\n\
        odd-card,US,0.7,8,30,1,Foo9000,24,False,,nvidia,\n";
    let zip = {
        use std::io::Write;
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file("runpod.csv", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(list.as_bytes()).unwrap();
        writer.finish().unwrap().into_inner()
    };
    let (outcome, tables) = asked(List::Gpuhunt, "runpod", move |path| match path {
        "/v3/runpod/version" => Some("20261120".into()),
        "/v3/runpod/20261120/catalog.zip" => Some(zip.clone()),
        _ => None,
    });
    check(&outcome, &tables);
    assert_eq!(outcome.skipped.get("a price of 0 or below, or none"), Some(&2));
}
