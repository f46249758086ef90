//! Who works at the company, who buys from it, and from where. Addresses are those that are kept for documents.

pub(super) struct Person {
    pub(super) login: &'static str,
    pub(super) name: &'static str,
    pub(super) team: &'static str,
    pub(super) ip: &'static str,
}

const fn person(login: &'static str, name: &'static str, team: &'static str, ip: &'static str) -> Person {
    Person { login, name, team, ip }
}

pub(super) const PEOPLE: [Person; 12] = [
    person("ann.keller", "Ann Keller", "support", "198.51.100.11"),
    person("ben.osei", "Ben Osei", "support", "198.51.100.12"),
    person("carla.mendes", "Carla Mendes", "finance", "198.51.100.23"),
    person("dmitri.volkov", "Dmitri Volkov", "engineering", "2001:db8:51::d1"),
    person("emma.larsen", "Emma Larsen", "support", "198.51.100.14"),
    person("farid.haddad", "Farid Haddad", "finance", "192.0.2.77"),
    person("grace.liu", "Grace Liu", "admin", "2001:db8:51::9a"),
    person("hugo.martin", "Hugo Martin", "sales", "192.0.2.140"),
    person("ines.silva", "Ines Silva", "sales", "2001:db8:77:4::21"),
    person("jonas.weber", "Jonas Weber", "engineering", "198.51.100.35"),
    person("kira.tanaka", "Kira Tanaka", "analytics", "198.51.100.36"),
    person("leo.novak", "Leo Novak", "warehouse", "192.0.2.201"),
];

/// Who looks after roles and incidents.
pub(super) const ADMIN: &Person = &PEOPLE[6];
/// Whose account is taken over.
pub(super) const VICTIM: &Person = &PEOPLE[4];

pub(super) struct Customer {
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) city: &'static str,
    pub(super) country: &'static str,
    pub(super) currency: &'static str,
    pub(super) tags: &'static [&'static str],
}

const fn customer(
    id: u32,
    name: &'static str,
    (city, country, currency): (&'static str, &'static str, &'static str),
    tags: &'static [&'static str],
) -> Customer {
    Customer { id, name, city, country, currency, tags }
}

pub(super) const CUSTOMERS: [Customer; 10] = [
    customer(1346, "Atelier Blanc", ("Paris", "FR", "EUR"), &["retail", "vip"]),
    customer(1401, "Nordlys Books", ("Oslo", "NO", "NOK"), &["retail"]),
    customer(1422, "Casa Azul", ("Lisbon", "PT", "EUR"), &["hospitality"]),
    customer(1457, "Brick Lane Records", ("London", "GB", "GBP"), &["retail", "trial"]),
    customer(1490, "Müller & Söhne", ("Berlin", "DE", "EUR"), &["wholesale", "vip"]),
    customer(1533, "Hudson Outfitters", ("New York", "US", "USD"), &["retail"]),
    customer(1561, "Kavárna Slunce", ("Prague", "CZ", "CZK"), &["hospitality", "trial"]),
    customer(1588, "Fjord Freight", ("Bergen", "NO", "NOK"), &["wholesale"]),
    customer(1603, "Studio Lumen", ("Lisbon", "PT", "EUR"), &["retail", "vip"]),
    customer(1649, "Golden Gate Tea", ("San Francisco", "US", "USD"), &["wholesale"]),
];
