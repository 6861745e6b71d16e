//! The program, where there is epoll and `/proc`.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    streamit_fanout::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("how an order reaches everyone is measured on Linux only, with epoll and /proc")
}
