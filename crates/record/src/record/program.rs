//! Which build of the program this is: the top package knows, and what stands below it asks here, so that a change above
//! does not build anew what is below.

use std::sync::OnceLock;

/// A build of the program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The commit it is made of.
    pub git_revision: &'static str,
    /// How it is built and of what, in words.
    pub build: Option<&'static str>,
}

static PROGRAM: OnceLock<Program> = OnceLock::new();

/// Says which build this is; the first to say so is believed.
pub fn set(program: Program) {
    let _ = PROGRAM.set(program);
}

/// This build, as the program said at its start; unknown where the library is used by another.
pub fn current() -> Program {
    *PROGRAM.get().unwrap_or(&Program { git_revision: "unknown", build: None })
}
