//! A Redis Cluster of six: three masters, each with a replica.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Redis, free_port};

pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::of(Redis::with)
    }

    /// Each server has a wall clock of its own, which can be set.
    pub fn with_clocks() -> Cluster {
        Cluster::of(Redis::with_a_clock)
    }

    fn of(start: impl Fn(&[&str]) -> Redis) -> Cluster {
        let nodes: Vec<Redis> = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"];
                // As config/cluster.toml advises: what one master has is no reason to refuse what others have.
                let partial = ["--cluster-require-full-coverage", "no"];
                start(&[&cluster[..], &partial, &["--repl-diskless-sync-delay", "0"]].concat())
            })
            .collect();
        let cluster = Cluster { nodes };
        let addresses = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses);
        create.args(["--cluster-replicas", "1", "--cluster-yes"]).stdout(Stdio::null());
        assert!(create.status().expect("redis-cli is installed").success());
        cluster.wait_until("every node sees the whole cluster", |cluster| {
            cluster.nodes.iter().all(|node| {
                let info = node.ask("CLUSTER INFO").unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
            }) && cluster.masters().len() == 3
        });
        // A replica that has not had its first copy cannot take over.
        cluster.wait_until("every replica has its copy", |cluster| {
            let replicas = cluster.nodes.iter().filter_map(|node| node.ask("INFO replication"));
            replicas.filter(|info| info.contains("master_link_status:up")).count() == 3
        });
        cluster
    }

    /// Addresses of three of the six.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().take(3).map(Redis::url).collect()
    }

    /// The server of that index.
    pub fn node(&self, index: usize) -> &Redis {
        &self.nodes[index]
    }

    /// Who owns the slot of a key, as the index of a node.
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let is_owner = |node: &&Redis| {
            let listed = node.ask("CLUSTER NODES").unwrap_or_default();
            listed.lines().find(|line| line.contains("myself,master")).is_some_and(|line| {
                line.split(' ').skip(8).any(|range| {
                    let (low, high) = range.split_once('-').unwrap_or((range, range));
                    low.parse::<u16>().is_ok_and(|low| low <= slot)
                        && high.parse::<u16>().is_ok_and(|high| slot <= high)
                })
            })
        };
        let owner = self.nodes.iter().find(is_owner).expect("a master owns every slot");
        self.nodes.iter().position(|node| node.port() == owner.port()).expect("one of ours")
    }

    /// Stops a master where it is, with its replica: nobody takes over.
    pub fn freeze(&self, master: usize) {
        self.nodes[self.replica(master)].freeze();
        self.nodes[master].freeze();
    }

    /// Lets all go on.
    pub fn thaw(&self) {
        self.nodes.iter().for_each(Redis::thaw);
    }

    fn replica(&self, master: usize) -> usize {
        let port = format!("master_port:{}\r", self.nodes[master].port());
        let follows = |node: &Redis| node.ask("INFO replication").is_some_and(|info| info.contains(&port));
        self.nodes.iter().position(follows).expect("each master has a replica")
    }

    /// Moves the slot of a key, with all that is in it, to another master while it is in use.
    pub fn move_slot(&self, key: &str) {
        let (slot, from) = (self.slot(key), self.owner(key));
        let to = *self.masters().iter().find(|master| **master != from).expect("three masters");
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id) = (id(from), id(to));
        expect_ok(to, &format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
        expect_ok(from, &format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
        loop {
            let keys = from.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).unwrap();
            let keys: Vec<&str> = keys.lines().filter(|line| line.contains("{")).collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let answer = from.ask(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port())).unwrap();
                assert!(answer.starts_with("+OK") || answer.starts_with("+NOKEY"), "{answer}");
            }
        }
        for node in [to, from] {
            expect_ok(node, &format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
        }
    }

    /// Kills the master of a key's slot, and returns when its replica has taken over.
    pub fn fail_over(&mut self, key: &str) {
        let owner = self.owner(key);
        self.nodes[owner].kill();
        self.wait_until("the replica takes over", |cluster| {
            let alive = cluster.nodes.iter().filter(|node| node.ask("PING").is_some());
            let states: Vec<_> = alive.map(|node| node.ask("CLUSTER INFO").unwrap_or_default()).collect();
            cluster.masters().len() == 3 && states.iter().all(|state| state.contains("cluster_state:ok"))
        });
    }

    fn slot(&self, key: &str) -> u16 {
        let answer = self.nodes.iter().find_map(|node| node.ask(&format!("CLUSTER KEYSLOT {key}"))).unwrap();
        answer.trim().trim_start_matches(':').parse().unwrap()
    }

    /// Masters that live, as indices of nodes.
    fn masters(&self) -> Vec<usize> {
        let is_master = |node: &Redis| node.ask("ROLE").is_some_and(|role| role.contains("master"));
        (0..self.nodes.len()).filter(|n| is_master(&self.nodes[*n])).collect()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Cluster) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: never");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn id(node: &Redis) -> String {
    let answer = node.ask("CLUSTER MYID").unwrap();
    answer.lines().nth(1).unwrap().to_owned()
}

fn expect_ok(node: &Redis, command: &str) {
    let answer = node.ask(command).unwrap();
    assert!(answer.starts_with("+OK"), "{command}: {answer}");
}
