//! How many threads candle uses and where they run. Candle reads this from the environment, once.

use crate::device::memory;

/// Sets thread count and CPU list (such as `0-3,8`) for all that runs after it.
///
/// # Safety
/// Must be called before the process has a second thread and before candle's first operation.
pub unsafe fn configure(threads: usize, cpus: Option<&str>) {
    let count = threads.to_string();
    // SAFETY: no other thread reads the environment, as the caller promises.
    unsafe {
        for name in ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"] {
            std::env::set_var(name, &count);
        }
        match cpus {
            Some(list) => std::env::set_var("CANDLE_CPU_MASK", list),
            None => std::env::remove_var("CANDLE_CPU_MASK"),
        }
    }
    memory::keep_freed_buffers();
    candle_core::utils::init_global_threadpool();
}
