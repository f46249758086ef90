//! What a principal may do. Roles are a set: none implies another, so admin alone cannot read.

use std::fmt;

/// One permission, checked in the handlers' signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Records events.
    Writer = 1,
    /// Reads and queries events.
    Reader = 1 << 1,
    /// Runs verification and reconciliation.
    Auditor = 1 << 2,
    /// Manages users and tokens of its tenant, and redacts.
    Admin = 1 << 3,
    /// Manages tenants and acts in all of them.
    Superadmin = 1 << 4,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Writer, Role::Reader, Role::Auditor, Role::Admin, Role::Superadmin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Reader => "reader",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
            Role::Superadmin => "superadmin",
        }
    }

    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    pub const NONE: Roles = Roles(0);
    pub const ALL: Roles = Roles(0b1_1111);

    pub fn contains(self, role: Role) -> bool {
        self.0 & role as u8 != 0
    }

    pub fn contains_all(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn intersection(self, other: Roles) -> Roles {
        Roles(self.0 & other.0)
    }

    #[must_use]
    pub fn difference(self, other: Roles) -> Roles {
        Roles(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }

    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Role::name).collect()
    }

    /// Reads the names of a database row. The schema admits no other names; one that a later version
    /// wrote grants nothing here.
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Roles {
        names.into_iter().filter_map(|name| Role::parse(name.as_ref())).collect()
    }

    /// Reads a list such as `writer,reader`; the error is the first word that names no role.
    pub fn parse(list: &str) -> Result<Roles, &str> {
        list.split(',').map(str::trim).map(|name| Role::parse(name).ok_or(name)).collect()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        roles.into_iter().fold(Roles::NONE, |set, role| Roles(set.0 | role as u8))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_roles_reads_back_as_it_prints() {
        for bits in 1..=Roles::ALL.0 {
            assert_eq!(Roles::parse(&Roles(bits).to_string()), Ok(Roles(bits)));
        }
        assert_eq!(Roles::parse("reader, writer,reader").unwrap().names(), ["writer", "reader"]);
    }

    #[test]
    fn a_word_that_is_no_role_is_named() {
        assert_eq!(Roles::parse("writer,raeder"), Err("raeder"));
        assert_eq!(Roles::parse(""), Err(""));
        assert_eq!(Roles::parse("Writer"), Err("Writer"));
    }

    #[test]
    fn no_role_implies_another() {
        for role in Role::ALL {
            let set = Roles::from_iter([role]);
            assert_eq!(set.iter().collect::<Vec<_>>(), [role]);
        }
        assert_eq!(Roles::from_iter(Role::ALL), Roles::ALL);
    }

    #[test]
    fn an_unknown_name_in_a_row_grants_nothing() {
        assert_eq!(Roles::from_names(["reader", "emperor"]), Roles::from_iter([Role::Reader]));
    }
}
