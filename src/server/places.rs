//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Places {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
    turned_away: AtomicU64,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only addresses with a connection are in it.
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place, given back on drop.
pub(super) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default(), turned_away: AtomicU64::new(0) })
    }

    /// A place for a connection from this address; `None` if it has too many, or all together have. Without an
    /// address (a Unix socket, a trusted proxy) only the latter counts.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let place = self.try_take(address.map(origin));
        if place.is_none() {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    fn try_take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let mut taken = self.lock();
        if taken.all >= self.max {
            return None;
        }
        if let Some(address) = address {
            let own = taken.by_address.entry(address).or_default();
            if *own >= self.max_per_address {
                return None;
            }
            *own += 1;
        }
        taken.all += 1;
        Some(Place { places: Arc::clone(self), address })
    }

    /// Connections at this time.
    pub fn taken(&self) -> usize {
        self.lock().all
    }

    /// Connections for which there was no place, since the start.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(own) = taken.by_address.get_mut(&address)
        {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What one party can be expected to have: an IPv4 address, or an IPv6 network of 64 bits.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_all_places_and_gives_back_its_own() {
        let places = Places::new(4, 2);
        let held: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1"].map(|a| places.take(address(a)).unwrap()).into();
        assert!(places.take(address("192.0.2.1")).is_none());
        let other = places.take(address("192.0.2.2")).unwrap();
        let socket = places.take(None).unwrap();
        assert!(places.take(None).is_none() && places.take(address("192.0.2.3")).is_none());
        drop((held, other, socket));
        assert_eq!(places.taken(), 0);
        assert!(places.lock().by_address.is_empty());
        assert!(places.take(address("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let places = Places::new(10, 1);
        let _held = places.take(address("2001:db8:0:1::1")).unwrap();
        assert!(places.take(address("2001:db8:0:1:ffff::2")).is_none());
        assert!(places.take(address("2001:db8:0:2::1")).is_some());
    }
}
