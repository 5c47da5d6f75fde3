//! Rows of catalogs, hardware of one's own and records that cannot be, and a clock beyond the calendar.

use sizewell::catalog::Catalog;
use sizewell::catalog::load::embedded_files;
use std::path::{Path, PathBuf};

/// What a catalog cannot be ranked with is refused where it is read, not only by `catalog check`.
#[test]
fn a_catalog_with_a_row_that_cannot_be_is_refused() {
    let changed = |file: &str, change: &dyn Fn(&str) -> String| {
        let mut files = embedded_files();
        let text = change(&files[file]);
        assert_ne!(text, files[file], "{file}");
        files.insert(file.to_string(), text.into());
        Catalog::from_files("embedded", &files).map(|_| ()).unwrap_err().to_string()
    };
    let replaced = |from: &'static str, to: &'static str| move |text: &str| text.replacen(from, to, 1);
    const L: &str = "prices/lambda.csv";
    let again = |text: &str| {
        let line = text.lines().find(|line| line.contains("on_demand,1.29,")).unwrap();
        format!("{text}{}\n", line.replace(",1.29,", ",0.29,"))
    };
    for (why, part) in [
        (changed(L, &replaced(",1.29,hour", ",-1.29,hour")), "nothing is sold for that"),
        (changed(L, &replaced(",1.29,hour", ",0,hour")), "nothing is sold for that"),
        (changed(L, &replaced(",1.29,hour", ",1e9,hour")), "no machine costs more"),
        (changed(L, &replaced(",1.29,hour", ",1290,second")), "no machine costs more"),
        (changed(L, &replaced(",1.29,hour", ",NaN,hour")), "usd: `NaN` is no price"),
        (changed(L, &again), "too, at 1.29 USD rather than 0.29"),
        (
            changed(L, &replaced("gpu_1x_a10,", "gpu_1x\u{1b}[31m,")),
            "instance_type: `gpu_1x\\u{1b}[31m` has a control character",
        ),
        (changed(L, &replaced("gpu_1x_a10,", "=gpu_1x_a10,")), "would be a formula"),
        (changed("shapes/lambda.csv", &replaced(",1,device", ",-1,device")), "accelerator_count is -1"),
        (changed("shapes/lambda.csv", &replaced(",1,device", ",NaN,device")), "accelerator_count is NaN"),
        (changed("shapes/lambda.csv", &|text| format!("{text}{}\n", text.lines().nth(1).unwrap())), "is on line 2 too"),
        (
            changed("accelerators.csv", &replaced("pcie,24,23034,300,", "pcie,24,23034,-300,")),
            "memory_bandwidth_gb_per_s is -300",
        ),
        (
            changed("accelerators.csv", &replaced("pcie,24,23034,300,", "pcie,24,23034,NaN,")),
            "memory_bandwidth_gb_per_s is NaN",
        ),
        (changed("adders.csv", &replaced("disk,0.08,", "disk,-0.08,")), "nobody is paid"),
        (changed("adders.csv", &replaced("disk,0.08,", "disk,80000,")), "another unit"),
        (changed("adders.csv", &replaced(",gb,0,10240,", ",gb,-1,10240,")), "tier_from_gb is -1"),
        (changed("providers.csv", &replaced(",1.15,", ",0.15,")), "pue is 0.15"),
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn own_hardware_that_cannot_be_is_refused_with_its_file() {
    let text = include_str!("../../../instance-catalog/own/8xh100.toml");
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("own.toml");
    for (from, to, part) in [
        ("capital_usd = 310000", "capital_usd = -310000", "capital_usd must be above 0"),
        ("capital_usd = 310000", "capital_usd = nan", "own.toml:5"),
        ("life_years = 4", "life_years = 0", "life_years is 0; it must be above 0"),
        ("life_years = 4", "life_years = nan", "life_years is NaN"),
        ("life_years = 4", "life_years = -4", "life_years is -4"),
        ("usd_per_kwh = 0.09", "usd_per_kwh = -0.09", "no other amount below"),
        ("usd_per_kwh = 0.09", "usd_per_kwh = 9", "is it in cents?"),
        ("pue = 1.3", "pue = nan", "pue is NaN"),
        ("accelerator_count = 8", "accelerator_count = -8", "accelerator_count is -8"),
        ("interest_per_year = 0.0", "interest_per_year = 8.0", "shares from 0 to below 1"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let why = sizewell::sizing::own::read(&file).unwrap_err();
        assert!(why.contains(part) && why.contains("own.toml"), "{to}: {why}");
    }
}

/// The clock is read in one place, which does not end the program where it is beyond the calendar.
#[test]
fn the_clock_is_read_in_one_place() {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "crates"].iter().for_each(|folder| files(&root.join(folder), &mut found));
    for path in found.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        for reading in ["Timestamp::now()", "Zoned::now()", "ZonedDateTime::now()"] {
            assert!(!text.contains(reading), "{} reads the clock by {reading}", path.display());
        }
    }
}
