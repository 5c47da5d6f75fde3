//! What the CPU engine makes of the machine: products against the read bandwidth, decoding at long contexts against the bytes
//! of the cache, and loading against reading and repacking. Each part with the roof that was measured in the same run.
//!
//!     cargo bench --bench engine [-- products] [-- contexts] [-- loading]

use candle_core::{Device, Tensor};
use sizewell::device::ceilings::{self, Settings};
use sizewell::engine::backend::cpu::packed::{Format, Packed};
use sizewell::engine::backend::cpu::product::products;
use sizewell::engine::backend::ops::Compute;
use sizewell::engine::backend::threads;
use sizewell::engine::model::{Decoder, Logits};
use sizewell::engine::weights::{gguf_writer, open, synthetic};
use sizewell::record::CeilingKind;
use sizewell::workload::{CacheType, Encoding, ModelShape, Preset, Quant};
use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const ENCODINGS: [Encoding; 6] =
    [Encoding::F16, Encoding::Bf16, Encoding::Q8_0, Encoding::Q6K, Encoding::Q4K, Encoding::Q4_0];

fn main() {
    let count = sizewell::device::cpu::default_threads();
    // SAFETY: nothing has started a thread yet.
    unsafe { threads::configure(count, None) };
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |name: &str| asked.is_empty() || asked.iter().any(|arg| arg == name);
    if wants("products") {
        product_speeds(count);
    }
    if wants("contexts") {
        context_speeds(count);
    }
    if wants("loading") {
        loading();
    }
}

/// Bytes a second that `threads` read together: the best sample, as the roof of a run.
fn roof(threads: usize) -> f64 {
    let settings = Settings { threads, time_each: Duration::from_millis(300) };
    let measured = ceilings::measure(&settings, &mut |_, _| ());
    let reads = measured.iter().filter(|c| c.kind == CeilingKind::ReadBandwidth && c.threads == threads);
    reads.map(|c| c.best).fold(0.0, f64::max)
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Lowest, median and highest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

fn shown([low, middle, high]: [f64; 3], places: usize) -> String {
    format!("{middle:.places$} ({low:.places$} to {high:.places$})")
}

fn packed(encoding: Encoding, (rows, cols): (usize, usize), seed: usize) -> Packed {
    let format = Format::of(encoding, cols).expect("a format for the encoding");
    let built = Packed::build::<Infallible>(format, (rows, cols), |_, bytes| {
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((i * 31 + seed) % 59) as u8);
        Ok(())
    });
    match built {
        Ok(packed) => packed,
        Err(never) => match never {},
    }
}

/// Matrices that no cache holds, one after the other, as a decoder reads them.
fn product_speeds(threads: usize) {
    let shape = (5632usize, 2048usize);
    println!(
        "Products with matrices of {} x {}, {threads} threads; seven passes: median (lowest to highest)\n",
        shape.0, shape.1
    );
    println!("| weights | rows | GB/s | share of the roof | 10^9 multiply-adds/s | rows a second against one row |");
    println!("|---|---|---|---|---|---|");
    for encoding in ENCODINGS {
        let one = encoding.matrix_bytes(shape.0, shape.1).0 as usize;
        let matrices: Vec<Packed> = (0..(800 << 20) / one).map(|seed| packed(encoding, shape, seed)).collect();
        let mut alone = 0.0;
        for rows in [1usize, 4, 16, 128] {
            let x = Tensor::randn(0f32, 1.0, (rows, shape.1), &Device::Cpu).expect("a tensor");
            let used = &matrices[..if rows > 16 { 8 } else { matrices.len() }];
            let pass = || used.iter().for_each(|matrix| drop(products(&x, &[matrix]).expect("a product")));
            pass();
            let roof = roof(threads);
            let bytes: usize = used.iter().map(Packed::bytes).sum();
            let times: Vec<f64> = (0..7).map(|_| seconds(pass)).collect();
            let rate = |amount: f64| spread(times.iter().map(|time| amount / time).collect());
            let ops = (used.len() * shape.0 * shape.1 * rows) as f64;
            let each = rate((rows * used.len()) as f64)[1];
            alone = if rows == 1 { each } else { alone };
            println!(
                "| {encoding} | {rows} | {} | {} | {} | {:.1} |",
                shown(rate(bytes as f64 / 1e9), 1),
                shown(rate(bytes as f64 / roof), 2),
                shown(rate(ops / 1e9), 0),
                each / alone
            );
        }
    }
    println!();
}

/// The shape of a preset with room for long contexts.
fn long(name: &str) -> (Preset, ModelShape) {
    let preset = Preset::named(name).expect("a preset");
    let shape = ModelShape { max_context: 1 << 15, ..preset.shape.clone() };
    (Preset { shape: shape.clone(), parameters: None, ..preset }, shape)
}

/// Decode steps behind contexts that were prefilled for real; the time should be a straight line over the bytes of the cache.
fn context_speeds(threads: usize) {
    let (preset, shape) = long("smollm2-135m");
    let mut model = synthetic::open(&preset, 42);
    let mut decoder = Decoder::load(&shape, model.weights.as_mut(), Quant::Int8, None, Compute::own(), &mut |_, _| ())
        .expect("random weights");
    let weights = decoder.decode_matrix_bytes().0;
    println!("Decoding {} int8 at batch 1, {threads} threads, 24 steps: median (lowest to highest)\n", preset.name);
    println!("| cache | context | cache, MB | ms a token | GB/s with weights | predicted by the line, ms |");
    println!("|---|---|---|---|---|---|");
    for kind in CacheType::ALL {
        let mut points: Vec<(usize, f64, [f64; 3])> = Vec::new();
        for context in [512usize, 2048, 4096, 8192, 16384] {
            let times = steps(&mut decoder, &shape, context, kind);
            points.push((context, shape.cache_bytes(1, context + 12, kind).0, times));
        }
        let (base, slope) = line(&points.iter().map(|(_, bytes, times)| (*bytes, times[1])).collect::<Vec<_>>());
        for (context, bytes, times) in &points {
            let rate = (weights + bytes) / times[1] / 1e9;
            let predicted = (base + slope * bytes) * 1e3;
            let times = times.map(|time| time * 1e3);
            println!("| {kind} | {context} | {:.1} | {} | {rate:.1} | {predicted:.2} |", bytes / 1e6, shown(times, 2));
        }
        println!("| {kind} | slope | | | {:.1} GB/s of the cache alone | intercept {:.2} |", 1e-9 / slope, base * 1e3);
    }
    println!("\nread bandwidth: {:.1} GB/s\n", roof(threads) / 1e9);
}

fn steps(decoder: &mut Decoder, shape: &ModelShape, context: usize, kind: CacheType) -> [f64; 3] {
    const CHUNK: usize = 512;
    decoder.allocate(1, context + 32, kind).expect("a cache");
    let tokens: Vec<u32> = (0..context).map(|i| ((i * 7919) % shape.vocab_size) as u32).collect();
    for chunk in tokens.chunks(CHUNK) {
        let input = Tensor::new(chunk, &Device::Cpu).and_then(|t| t.unsqueeze(0)).expect("tokens");
        decoder.forward(&input, Logits::Last).expect("a pass");
    }
    let one = Tensor::new(&[[5u32]], &Device::Cpu).expect("a token");
    let mut step = || seconds(|| drop(decoder.forward(&one, Logits::Last).expect("a step")));
    for _ in 0..4 {
        step();
    }
    spread((0..24).map(|_| step()).collect())
}

/// Least squares: the intercept and the slope.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>()
        / points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum::<f64>();
    (y - slope * x, slope)
}

/// Loading a GGUF file from the page cache, against reading it and repacking as much by the same threads.
fn loading() {
    let preset = Preset::named("llama-3.2-1b").expect("a preset");
    println!("Loading {} from the page cache; seven times: median (lowest to highest)\n", preset.name);
    println!(
        "| level | file, MB | read, s | repack, s | load, s | load over read and repack | matrices in memory over the file |"
    );
    println!("|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().expect("a folder");
    for quant in [Quant::F16, Quant::Int8, Quant::Int4] {
        let path = folder.path().join("model.gguf");
        let mut random = synthetic::open(&preset, 42);
        gguf_writer::write(&path, &preset.shape, random.weights.as_mut(), quant, &preset.name).expect("a file");
        let size = path.metadata().expect("a file").len();
        // What is still on its way to the disk would be written beside the measurement.
        File::open(&path).and_then(|file| file.sync_all()).expect("the file on the disk");
        let (mut reads, mut packs, mut loads, mut ratios, mut held) = (vec![], vec![], vec![], vec![], 0.0);
        for _ in 0..7 {
            let read = seconds(|| read_whole(&path, size));
            let pack = seconds(|| repack(&preset.shape, quant));
            let load = seconds(|| held = load(path.to_str().expect("a path"), quant));
            reads.push(read);
            packs.push(pack);
            loads.push(load);
            ratios.push(load / (read + pack));
        }
        println!(
            "| {quant} | {:.0} | {} | {} | {} | {} | {:.3} |",
            size as f64 / 1e6,
            shown(spread(reads), 3),
            shown(spread(packs), 3),
            shown(spread(loads), 3),
            shown(spread(ratios), 2),
            held / size as f64
        );
        std::fs::remove_file(&path).expect("the file");
    }
}

fn read_whole(path: &std::path::Path, size: u64) {
    let file = File::open(path).expect("the file");
    let mut buffer = vec![0u8; 1 << 20];
    for at in (0..size).step_by(buffer.len()) {
        let len = buffer.len().min((size - at) as usize);
        file.read_exact_at(&mut buffer[..len], at).expect("bytes");
    }
}

/// Packs matrices as large as the model's from bytes that are in the cache, into memory that is new, as a load does.
fn repack(shape: &ModelShape, quant: Quant) {
    let mut all = Vec::new();
    for (rows, cols, count) in shape.matrices() {
        for _ in 0..count {
            let encoding = quant.encoding(cols);
            let format = Format::of(encoding, cols).expect("a format");
            let built = Packed::build::<Infallible>(format, (rows, cols), |_, _| Ok(()));
            all.push(built);
        }
    }
}

fn load(path: &str, quant: Quant) -> f64 {
    let mut model = open(path, 0, false).expect("the file");
    let weights = model.weights.as_mut();
    let decoder = Decoder::load(&model.shape, weights, quant, None, Compute::own(), &mut |_, _| ()).expect("weights");
    decoder.matrix_bytes().0
}
