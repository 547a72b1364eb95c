//! Which process holds the other end of a connection on this machine. Knows Linux, and says nothing elsewhere.
#![expect(clippy::disallowed_methods, reason = "reads what the kernel tells of sockets")]

use std::net::SocketAddr;

/// The one of the processes that connected from this address.
pub(super) fn process(peer: SocketAddr, mut processes: impl Iterator<Item = u32>) -> Option<u32> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, peer.port())?);
    processes.find(|process| {
        let open = std::fs::read_dir(format!("/proc/{process}/fd"));
        open.into_iter().flatten().flatten().any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.as_str())
        })
    })
}

/// The inode of the socket that is bound to a port of 127.0.0.1 and connected. What is left of earlier connections of that port has none.
fn inode(table: &str, port: u16) -> Option<&str> {
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = fields.get(3).is_some_and(|state| *state == "0A");
        let inode = fields.get(9).copied().filter(|inode| *inode != "0")?;
        (fields.get(1) == Some(&local.as_str()) && !listens).then_some(inode)
    })
}

#[test]
fn a_socket_is_found_in_the_kernels_table() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   9: 0100007F:C350 0100007F:1F91 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0 0 0 0 0
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 20 4 30 10 -1
   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 20 4 30 10 -1\n";
    assert_eq!(inode(table, 8080), Some("222"));
    assert_eq!(inode(table, 50000), Some("333"));
    assert_eq!(inode(table, 50001), None);
}
