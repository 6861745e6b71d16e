//! An nginx with one site, for as long as the value lives.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::Listening;

pub struct Nginx {
    _process: Listening,
    _folder: TempDir,
}

impl Nginx {
    /// `site` is what stands in a file of `sites-enabled`; it says which port of this machine's it listens on.
    pub fn start(site: &str, port: u16) -> Nginx {
        let folder = tempfile::tempdir().unwrap();
        // One process, which takes everything with it when it is killed. Whatever it may want to write is in its folder.
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};"));
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
             events {{}}\nhttp {{ access_log off; {}\n{site} }}\n",
            temporary.join(" ")
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        // Debian keeps it out of people's PATH.
        let program = if Path::new("/usr/sbin/nginx").is_file() { "/usr/sbin/nginx" } else { "nginx" };
        let process = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is installed; `cargo xtask test` sees to it");
        Nginx { _process: Listening::on(port, process, "nginx"), _folder: folder }
    }
}
