//! What a record of llama-bench ran on, from what it says of backends, cards, devices and layers.

use super::device::{self, Backend};
use super::llama_bench::no_split;
use crate::record::device::METAL;

/// The fields of a record that say what it ran on.
#[derive(Debug, Default)]
pub(crate) struct DeviceFields<'a> {
    /// Names of the backends, separated by commas; `None` where the record does not speak of them.
    pub backends: Option<&'a str>,
    /// Names of the cards that were found.
    pub cards: &'a str,
    /// Name of the CPU.
    pub cpu: &'a str,
    /// A build that lists the cards of CUDA alone.
    pub is_old: bool,
    /// There are cards, whether they are named or not.
    pub has_cards: bool,
    /// Layers that were put on the device; below 0 all of them.
    pub layers_on_device: Option<f64>,
    /// Layers that the model has.
    pub layers: Option<usize>,
    /// Devices that were asked for: `CUDA0/CUDA1`, `none`, `auto`.
    pub devices: Option<&'a str>,
    /// `none`, `layer`, `row`.
    pub split_mode: Option<&'a str>,
    /// The card that is used where the model is not split.
    pub main_gpu: usize,
    /// Shares of the cards: `0.50/0.50`.
    pub tensor_split: Option<&'a str>,
    /// Some of the work stays on the CPU: experts, the cache, tensors by name.
    pub partly_on_cpu: bool,
    /// Products of long prompts run on the card even where no layer is there.
    pub offloads_products: bool,
}

/// The device that a record ran on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunDevice {
    /// The kind of device.
    pub device: &'static str,
    /// The card, or all of them where they are of several kinds.
    pub name: Option<String>,
    /// How many were used.
    pub cards: usize,
    /// The backend that computed, by llama.cpp's name.
    pub backend: Option<String>,
    /// What is to be said of it.
    pub remark: Option<String>,
}

/// On the CPU, whatever the build could do.
fn on_cpu(remark: Option<&str>) -> RunDevice {
    RunDevice { device: "cpu", name: None, cards: 0, backend: None, remark: remark.map(str::to_string) }
}

/// Layers that are all of any model whose number is not known: none has as many.
const ALL_LAYERS: f64 = 99.0;

/// Names of cards in a list. Commas part them, and in early builds slashes, which also stand within names.
fn names(list: &str) -> Vec<&str> {
    let by = |mark: char| list.split(mark).map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<&str>>();
    let (commas, slashes) = (by(','), by('/'));
    let maker = |name: &str| name.split([' ', '(']).next().map(str::to_lowercase);
    let makers = ["nvidia", "amd", "tesla", "quadro", "geforce", "intel", "apple", "radeon", "grid"];
    let all_named = slashes.iter().all(|name| maker(name).is_some_and(|word| makers.contains(&word.as_str())));
    if commas.len() == 1 && slashes.len() > 1 && all_named { slashes } else { commas }
}

/// The backends of a list, by name and kind, each once.
fn backends(list: &str) -> Vec<(String, Backend)> {
    let mut all: Vec<(String, Backend)> = Vec::new();
    for name in list.split([',', '+', ' ']).map(str::trim).filter(|name| !name.is_empty()) {
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_string();
        if !all.iter().any(|(known, _)| *known == bare) {
            all.push((bare, device::of_backend(name)));
        }
    }
    all
}

/// Places among the cards of the devices that were asked for; `None` where nobody asked.
fn chosen(devices: Option<&str>) -> Option<Vec<(String, usize)>> {
    let devices = devices.filter(|devices| !matches!(devices.to_lowercase().as_str(), "" | "auto" | "all"))?;
    let part = |device: &str| {
        let bare = device.trim_end_matches(|c: char| c.is_ascii_digit());
        (bare.to_string(), device[bare.len()..].parse().unwrap_or(0))
    };
    Some(devices.split(['/', ',', ';']).map(str::trim).filter(|device| !device.is_empty()).map(part).collect())
}

/// What a record ran on; the error says why that cannot be told.
pub(crate) fn place(asked: &DeviceFields<'_>) -> Result<RunDevice, String> {
    let devices = chosen(asked.devices);
    if asked.devices.is_some_and(|devices| devices.eq_ignore_ascii_case("none")) {
        return Ok(on_cpu(None));
    }
    let found = names(asked.cards);
    if found.iter().any(|name| is_address(name)) {
        return Err(REMOTE.to_string());
    }
    let Some((backend, kind)) = accelerator(asked, devices.as_deref(), &found)? else {
        return Ok(on_cpu(None));
    };
    let names_unknown = asked.has_cards || (asked.is_old && kind != "cuda");
    if found.is_empty() && !names_unknown {
        return Ok(on_cpu(Some(&format!("the {backend} build found no card"))));
    }
    let used = used(asked, devices.as_deref(), &found);
    let name = match (found.is_empty(), kind) {
        // Early builds did not name it, and there is no other.
        (true, METAL) => Some(asked.cpu.to_string()).filter(|name| !name.is_empty()),
        _ => kinds(&used),
    };
    let driven_by = if kind == "cuda" { name.as_deref().map_or(kind, device::of_card) } else { kind };
    let layers = asked.layers_on_device;
    let whole = match (layers, asked.layers) {
        (None, _) => true,
        (Some(n), _) if n < 0.0 => true,
        (Some(n), Some(all)) => n >= all as f64,
        (Some(n), None) => n >= ALL_LAYERS,
    };
    if layers == Some(0.0) && !asked.offloads_products {
        return Ok(on_cpu(None));
    }
    let device = if whole && !asked.partly_on_cpu { driven_by } else { "mixed" };
    Ok(RunDevice { device, name, cards: used.len().max(1), backend: Some(backend), remark: None })
}

const REMOTE: &str = "that ran on devices of other machines (RPC), whose names are not in it";

/// An address of another machine instead of the name of a card.
fn is_address(name: &str) -> bool {
    let port = name.trim_end_matches(']').rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    name.starts_with("RPC") || port
}

/// The backend that computes, and its kind; `None` for the CPU.
fn accelerator(
    asked: &DeviceFields<'_>,
    devices: Option<&[(String, usize)]>,
    found: &[&str],
) -> Result<Option<(String, &'static str)>, String> {
    let Some(list) = asked.backends else {
        // Nothing is said of backends: the card tells.
        let of = |name: &&str| (device::of_card(name).to_uppercase(), device::of_card(name));
        return Ok(found.first().map(of));
    };
    let mut named = backends(list);
    if let Some(devices) = devices.filter(|devices| !devices.is_empty()) {
        named = backends(&devices.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","));
    }
    if let Some((name, _)) = named.iter().find(|(_, kind)| *kind == Backend::Unknown) {
        return Err(format!("of a backend `{name}` that is not known here"));
    }
    let of_kind = |(name, kind): &(String, Backend)| match kind {
        Backend::Accelerator(kind) => Some((name.clone(), *kind)),
        _ => None,
    };
    let accelerators: Vec<(String, &'static str)> = named.iter().filter_map(of_kind).collect();
    let remote = named.iter().any(|(_, kind)| *kind == Backend::Remote);
    match accelerators.as_slice() {
        [] if remote => Err(REMOTE.to_string()),
        // A build for RPC lists it whether a server was asked or not; where one was, it is among the cards.
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(format!("of several backends at once ({list}), of which it does not say which computed")),
    }
}

/// The names of the cards that were used.
fn used<'a>(asked: &DeviceFields<'_>, devices: Option<&[(String, usize)]>, found: &[&'a str]) -> Vec<&'a str> {
    let of_devices: Vec<&str> = match devices {
        Some(devices) => devices.iter().filter_map(|(_, place)| found.get(*place)).copied().collect(),
        None => found.to_vec(),
    };
    if asked.split_mode.is_some_and(|mode| mode.eq_ignore_ascii_case("none")) {
        let main = of_devices.get(asked.main_gpu).or(of_devices.first());
        return main.copied().into_iter().collect();
    }
    match asked.tensor_split.filter(|split| !no_split(split)) {
        Some(split) => {
            let shares = split.split(['/', ',', ';']).map(|share| share.trim().parse::<f64>().unwrap_or(0.0));
            let with_share = of_devices.iter().zip(shares).filter(|(_, share)| *share > 0.0);
            with_share.map(|(name, _)| *name).collect()
        }
        None => of_devices,
    }
}

/// One name for cards of one kind, all kinds with their numbers for several.
fn kinds(cards: &[&str]) -> Option<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for card in cards {
        match counts.iter_mut().find(|(name, _)| name == card) {
            Some((_, count)) => *count += 1,
            None => counts.push((card, 1)),
        }
    }
    match counts.as_slice() {
        [] => None,
        [(name, _)] => Some(name.to_string()),
        _ => Some(counts.iter().map(|(name, count)| format!("{count}x {name}")).collect::<Vec<_>>().join(" + ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> DeviceFields<'static> {
        DeviceFields {
            backends: Some("CUDA"),
            cards: "NVIDIA L4",
            layers_on_device: Some(99.0),
            offloads_products: true,
            ..DeviceFields::default()
        }
    }

    /// Device, name and number of cards.
    fn told(asked: &DeviceFields<'_>) -> (&'static str, Option<String>, usize) {
        let placed = place(asked).unwrap();
        (placed.device, placed.name, placed.cards)
    }

    fn of(backends: &'static str, cards: &'static str) -> (&'static str, Option<String>, usize) {
        told(&DeviceFields { backends: Some(backends), cards, ..base() })
    }

    #[test]
    fn backends_of_all_makers_are_accelerators() {
        for (backends, cards, device) in [
            ("CUDA", "NVIDIA L4", "cuda"),
            ("ROCm", "AMD Radeon RX 7900 XTX", "rocm"),
            ("HIP", "AMD Instinct MI300X", "rocm"),
            ("MTL,BLAS", "Apple M4 Max", "metal"),
            ("Metal,BLAS,CPU", "Apple M2 Ultra", "metal"),
            ("Vulkan,BLAS", "AMD Radeon RX 7900 XTX (RADV NAVI31)", "vulkan"),
            ("SYCL", "Intel(R) Arc(TM) A770 Graphics", "sycl"),
            ("MUSA", "MTT S4000", "musa"),
            ("CANN", "Ascend910B3", "cann"),
            ("OpenCL", "QUALCOMM Adreno(TM)", "opencl"),
            ("CUDA,RPC", "NVIDIA L4", "cuda"),
        ] {
            assert_eq!(of(backends, cards), (device, Some(cards.to_string()), 1), "{backends}");
        }
        assert_eq!(of("BLAS", ""), ("cpu", None, 0));
        assert_eq!(of("CPU", ""), ("cpu", None, 0));
    }

    #[test]
    fn what_found_no_card_or_was_told_to_use_none_ran_on_the_cpu() {
        assert_eq!(of("CUDA", ""), ("cpu", None, 0));
        assert_eq!(told(&DeviceFields { devices: Some("none"), ..base() }), ("cpu", None, 0));
        let idle = DeviceFields { layers_on_device: Some(0.0), ..base() };
        assert_eq!(told(&idle).0, "mixed", "products of long prompts run on the card");
        assert_eq!(told(&DeviceFields { offloads_products: false, ..idle }).0, "cpu");
        // Early builds of Metal and Vulkan did not list cards.
        let old = DeviceFields { backends: Some("Metal"), cards: "", cpu: "Apple M1 Pro", is_old: true, ..base() };
        assert_eq!(told(&old), ("metal", Some("Apple M1 Pro".to_string()), 1));
        let old = DeviceFields { backends: Some("CUDA"), cards: "AMD Radeon RX 6800", is_old: true, ..base() };
        assert_eq!(told(&old).0, "rocm", "built for HIP, it called itself CUDA");
    }

    #[test]
    fn work_that_stays_on_the_cpu_is_mixed() {
        assert_eq!(told(&DeviceFields { partly_on_cpu: true, ..base() }).0, "mixed");
        let layers =
            |n: f64, all: Option<usize>| told(&DeviceFields { layers_on_device: Some(n), layers: all, ..base() }).0;
        assert_eq!([layers(-1.0, Some(32)), layers(33.0, Some(32)), layers(20.0, Some(32))], ["cuda", "cuda", "mixed"]);
        assert_eq!([layers(99.0, Some(126)), layers(99.0, None), layers(33.0, None)], ["mixed", "cuda", "mixed"]);
    }

    #[test]
    fn only_cards_that_were_used_count() {
        let four = "NVIDIA L4, NVIDIA L4, NVIDIA L4, NVIDIA L4";
        let cards = |asked: &DeviceFields<'_>| told(asked).2;
        let all = || DeviceFields { cards: four, ..base() };
        assert_eq!(cards(&all()), 4);
        assert_eq!(cards(&DeviceFields { split_mode: Some("none"), ..all() }), 1);
        assert_eq!(cards(&DeviceFields { tensor_split: Some("0.00"), ..all() }), 4);
        assert_eq!(cards(&DeviceFields { tensor_split: Some("0.50/0.50/0.00/0.00"), ..all() }), 2);
        assert_eq!(cards(&DeviceFields { devices: Some("CUDA0/CUDA2"), ..all() }), 2);
        assert_eq!(cards(&DeviceFields { devices: Some("auto"), ..all() }), 4);
        let two = DeviceFields { cards: "NVIDIA RTX A6000, NVIDIA GeForce RTX 3090", ..base() };
        let name = "1x NVIDIA RTX A6000 + 1x NVIDIA GeForce RTX 3090".to_string();
        assert_eq!(told(&two), ("cuda", Some(name), 2));
        let main = DeviceFields { split_mode: Some("none"), main_gpu: 1, ..two };
        assert_eq!(told(&main), ("cuda", Some("NVIDIA GeForce RTX 3090".to_string()), 1));
        assert_eq!(of("CUDA", "NVIDIA A100/NVIDIA A100").2, 2, "slashes of 2023");
        assert_eq!(of("Vulkan", "AMD Radeon RX 7900 XT/7900 XTX").2, 1, "a slash within a name");
    }

    #[test]
    fn what_cannot_be_told_is_left_out() {
        let why = |backends: &'static str, cards: &'static str| {
            place(&DeviceFields { backends: Some(backends), cards, ..base() }).unwrap_err()
        };
        assert!(why("Quantum", "QPU").contains("`Quantum`"));
        assert!(why("CUDA,Vulkan", "NVIDIA L4").contains("several backends"));
        assert!(why("RPC", "").contains("other machines"));
        assert!(why("CUDA,RPC", "NVIDIA L4, RPC[10.0.0.2:50052]").contains("other machines"));
        let which = DeviceFields { backends: Some("CUDA,Vulkan"), devices: Some("Vulkan0"), ..base() };
        assert_eq!(told(&which).0, "vulkan");
    }
}
