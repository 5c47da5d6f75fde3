use sizewell::device::ceilings::*;
use std::time::*;
fn main() {
    for t in [1, 2] {
        for c in measure(&Settings { threads: t, time_each: Duration::from_millis(300) }, &mut |_, _| ()) {
            println!(
                "t{} {:?} best {} median {} n{} {}",
                t,
                c.kind,
                c.kind.human(c.best),
                c.kind.human(c.median),
                c.samples.len(),
                c.how
            );
        }
    }
}
