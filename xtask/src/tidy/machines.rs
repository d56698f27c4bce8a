//! Nothing in the repository names a machine's folders or a registry's host.

use super::file::TextFile;

/// Home and work folders of machines that this is developed on. Put together here, so that this file passes.
const MACHINE_PATHS: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/")];
/// Hosts that registry clients know by themselves; written down they would bind a checkout to one network.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("registry.yarnpkg", ".com"),
    concat!("files.pythonhosted", ".org"),
    concat!("pypi", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
];
const LOCK_FILES: &[&str] = &["package-lock.json", "npm-shrinkwrap.json"];

/// Checks every text file; in npm's lock files no address at all may stand under `resolved`.
pub(crate) fn check(files: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files {
        let is_lock = LOCK_FILES.contains(&file.path.rsplit('/').next().unwrap_or_default());
        for (number, line) in file.text.lines().enumerate() {
            let at = file.at(number + 1);
            if let Some(path) = MACHINE_PATHS.iter().find(|path| names_path(line, path)) {
                faults.push(format!("{at}: `{path}` is a folder of one machine"));
            }
            if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(*host)) {
                faults.push(format!("{at}: `{host}` is the host of a registry"));
            }
            if is_lock && line.contains("\"resolved\": \"http") {
                faults.push(format!(
                    "{at}: an address; write the lock file with omit-lockfile-registry-resolved=true"
                ));
            }
        }
    }
    faults
}

/// Whether an absolute path begins here: in `a/work/b` it does not.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "_-.}".contains(before))
    })
}

#[cfg(test)]
mod tests;
