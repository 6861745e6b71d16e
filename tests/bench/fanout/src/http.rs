//! Requests one after the other over one connection, as plain as they can be.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use anyhow::{Context, ensure};
use serde_json::Value;

pub(crate) struct Http {
    address: String,
    line: BufReader<TcpStream>,
}

impl Http {
    pub(crate) fn connect(address: &str) -> anyhow::Result<Http> {
        let stream = TcpStream::connect(address).with_context(|| format!("nobody is at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Http { address: address.to_owned(), line: BufReader::new(stream) })
    }

    /// The JSON of an answer that says yes.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.line.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        self.line.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.line.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        self.line.read_exact(&mut answer)?;
        let is_yes = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
        ensure!(is_yes, "{method} {path}: {} {}", status.trim_end(), String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    }
}
