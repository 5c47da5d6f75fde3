//! Where cuBLASLt lies beyond the linker's own places: CUDA's folders, and those of Python packages, which bring it along
//! with PyTorch, JAX and others where no toolkit is installed. Nothing is run to find out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a search goes by: variables of the environment, and the folder that stands for `/`.
pub(super) struct Places<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub root: &'a Path,
}

impl Places<'_> {
    /// Files that may be the library, the likeliest first: of CUDA's folders that the environment names, of the Python
    /// environment that is active, of the usual places of CUDA, of the Python on the path. Of one folder the newest
    /// generation first, but none that is newer than CUDA `newest`, the driver's: it would not start.
    pub(crate) fn candidates(&self, newest: u32) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for name in ["CUDA_HOME", "CUDA_PATH"] {
            folders.extend(self.folder(name).into_iter().flat_map(|home| of_toolkit(&home)));
        }
        for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            folders.extend(self.folder(name).into_iter().flat_map(|prefix| of_prefix(&prefix)));
        }
        let mut toolkits = entries(&self.root.join("usr/local"), |name| name.starts_with("cuda"));
        toolkits.push(self.root.join("opt/cuda"));
        folders.extend(toolkits.iter().flat_map(|home| of_toolkit(home)));
        folders.extend(self.python().iter().flat_map(|prefix| of_prefix(prefix)));
        folders.extend(self.folder("HOME").into_iter().flat_map(|home| of_prefix(&home.join(".local"))));
        let mut found: Vec<PathBuf> = Vec::new();
        for path in folders.iter().flat_map(|folder| of_folder(folder, newest)) {
            if !found.contains(&path) {
                found.push(path);
            }
        }
        found
    }

    fn folder(&self, variable: &str) -> Option<PathBuf> {
        (self.variable)(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The prefix of the first `python3` on the path: as it stands, which is that of a virtual environment, and with its
    /// links followed.
    fn python(&self) -> Vec<PathBuf> {
        let path = (self.variable)("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|folder| folder.join("python3")).find(|file| file.is_file());
        let Some(program) = program else { return Vec::new() };
        let followed = std::fs::canonicalize(&program).unwrap_or_else(|_| program.clone());
        let prefix = |program: &Path| program.parent().and_then(Path::parent).map(Path::to_path_buf);
        [prefix(&program), prefix(&followed)].into_iter().flatten().collect()
    }
}

/// The folders in `folder` whose names are `wanted`, the last by name first: `cuda-13.0` before `cuda-12.4`.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<OsString> = names.filter(|name| name.to_str().is_some_and(&wanted)).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Where a toolkit keeps its libraries.
fn of_toolkit(home: &Path) -> Vec<PathBuf> {
    let targets = entries(&home.join("targets"), |_| true).into_iter().map(|target| target.join("lib"));
    [home.join("lib64"), home.join("lib")].into_iter().chain(targets).collect()
}

/// Where packages of a Python with this prefix have libraries: conda's beside Python's, PyPI's in `nvidia/*/lib` of each
/// folder of packages (`nvidia/cublas/lib` up to CUDA 12, `nvidia/cu13/lib` from 13 on).
fn of_prefix(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = vec![prefix.join("lib")];
    for lib in ["lib", "lib64", "local/lib"] {
        for python in entries(&prefix.join(lib), |name| name.starts_with("python3")) {
            for packages in ["site-packages", "dist-packages"] {
                let parts = entries(&python.join(packages).join("nvidia"), |_| true);
                folders.extend(parts.into_iter().map(|part| part.join("lib")));
            }
        }
    }
    folders
}

/// The library's files in a folder: `libcublasLt.so.13`, with the generation alone behind the name.
fn of_folder(folder: &Path, newest: u32) -> Vec<PathBuf> {
    let generation = |name: &str| name.strip_prefix("libcublasLt.so.").and_then(|rest| rest.parse::<u32>().ok());
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<u32> = names.filter_map(|name| generation(name.to_str()?)).filter(|n| *n <= newest).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|n| folder.join(format!("libcublasLt.so.{n}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty file at `path` below `root`.
    fn put(root: &Path, path: &str) -> PathBuf {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        file
    }

    fn found(root: &Path, variables: &[(&str, PathBuf)], newest: u32) -> Vec<PathBuf> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone().into_os_string())
        };
        Places { variable: &variable, root }.candidates(newest)
    }

    #[test]
    fn every_layout_is_looked_into_in_the_order_of_what_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let system = put(root, "usr/local/cuda-13.0/targets/x86_64-linux/lib/libcublasLt.so.13");
        put(root, "usr/local/cuda-13.0/lib64/stubs/libcublasLt.so");
        let older = put(root, "usr/local/cuda-12.4/lib64/libcublasLt.so.12");
        put(root, "usr/local/cuda-12.4/lib64/libcublasLt.so.12.4.5.8");
        let home = put(root, "my cuda/lib64/libcublasLt.so.13");
        let active = put(root, "venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
        let conda = put(root, "conda/lib/libcublasLt.so.12");
        let on_path = put(root, "torch/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
        put(root, "torch/bin/python3");
        let user = put(root, "home/.local/lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
        let path = std::env::join_paths([root.join("nowhere"), root.join("torch/bin")]).unwrap();
        let variables = [
            ("CUDA_HOME", root.join("my cuda")),
            ("VIRTUAL_ENV", root.join("venv")),
            ("CONDA_PREFIX", root.join("conda")),
            ("PATH", path.into()),
            ("HOME", root.join("home")),
        ];
        let all = [&home, &active, &conda, &system, &older, &on_path, &user].map(Clone::clone);
        assert_eq!(found(root, &variables, 13), all);
        // A driver for CUDA 12 starts none of 13.
        assert_eq!(found(root, &variables, 12), [&conda, &older, &on_path, &user].map(Clone::clone));
        assert_eq!(found(root, &variables, 11), [] as [PathBuf; 0]);
        assert_eq!(found(&root.join("nowhere"), &[], 13), [] as [PathBuf; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn a_python_that_is_a_link_is_looked_for_on_both_sides() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let base = put(root, "usr/lib/python3/dist-packages/nvidia/cu13/lib/libcublasLt.so.13");
        put(root, "usr/bin/python3.12");
        let own = put(root, "venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
        std::fs::create_dir_all(root.join("venv/bin")).unwrap();
        std::os::unix::fs::symlink(root.join("usr/bin/python3.12"), root.join("venv/bin/python3")).unwrap();
        let real = std::fs::canonicalize(base).unwrap();
        assert_eq!(found(&root.join("nowhere"), &[("PATH", root.join("venv/bin"))], 13), [own, real]);
    }
}
