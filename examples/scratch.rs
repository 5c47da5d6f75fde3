use sizewell::engine::Engine;
use sizewell::engine::candle::{CandleEngine, source, threads};
use sizewell::workload::*;
use std::ops::ControlFlow;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    unsafe { threads::configure(args.get(3).and_then(|s| s.parse().ok()).unwrap_or(2), None) };
    let t = Instant::now();
    let model = source::open(&args[1], 42, false).unwrap();
    println!("open {:.2}", t.elapsed().as_secs_f64());
    let mut e = CandleEngine::new(model);
    for q in args[2].split(',') {
        for (b, p) in [(1usize, 128usize), (4, 128), (16, 128)] {
            let case = Case { quant: q.parse().unwrap(), batch: b, prompt_tokens: p, gen_tokens: 32 };
            let t = Instant::now();
            e.prepare(&case).unwrap();
            let load = t.elapsed().as_secs_f64();
            let prompts: Vec<Vec<u32>> =
                (0..b).map(|i| (0..p).map(|j| ((i * 31 + j * 7) % 500) as u32).collect()).collect();
            for it in 0..4 {
                let mut times = vec![];
                let s = Instant::now();
                e.iterate(&case, &prompts, &mut || {
                    times.push(s.elapsed().as_secs_f64());
                    ControlFlow::Continue(())
                })
                .unwrap();
                let n = times.len();
                println!(
                    "{case} load {load:.2} it{it} ttft {:.1} ms ({:.0} tok/s) tpot {:.2} ms ({:.1} tok/s)",
                    times[0] * 1e3,
                    (b * p) as f64 / times[0],
                    (times[n - 1] - times[0]) / (n - 1) as f64 * 1e3,
                    b as f64 * (n - 1) as f64 / (times[n - 1] - times[0])
                );
            }
        }
    }
}
