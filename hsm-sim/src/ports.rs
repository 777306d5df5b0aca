//! Free TCP ports on loopback.

use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The first of `count` neighbouring free ports of 127.0.0.1, which are this process's own until it ends: nobody who asks
/// here gets them meanwhile, whether or not something listens there yet.
///
/// They lie outside the range from which the system takes ports for outgoing connections by itself (32768 to 60999). A
/// port from there that was free a moment ago may be the near end of somebody's long connection when it is listened on.
///
/// # Panics
///
/// If `count` is more than 8.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    assert!(count <= 8, "too many ports");
    loop {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let first = 10_000 + u16::try_from(random % 2_500).unwrap_or(0) * 8;
        if let Some(reservation) = reserve(first)
            && (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        {
            // Open for as long as this process lives; children do not inherit it.
            std::mem::forget(reservation);
            return first;
        }
    }
}

/// Takes the eight ports from `first` on: a name that the system gives to one process and frees when that one ends.
fn reserve(first: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("hsm-sim-ports-{first}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::{free_ports, reserve};
    use std::collections::HashSet;

    #[test]
    fn nobody_gets_a_port_twice() {
        let ports: Vec<_> = (0..200).map(|_| free_ports(2)).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        assert!(ports.iter().all(|port| (10_000..30_000).contains(port)));
        assert!(reserve(ports[0]).is_none());
    }
}
