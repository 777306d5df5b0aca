//! A handful of open things, the least recently used one closed first.

/// At most `limit` values by name.
pub struct Recent<T> {
    limit: usize,
    /// The least recently used first.
    open: Vec<(String, T)>,
}

impl<T> Recent<T> {
    /// Keeps up to `limit` values, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            open: Vec::new(),
        }
    }

    /// The value of this name, now the most recently used.
    pub fn get(&mut self, name: &str) -> Option<&mut T> {
        let place = self.open.iter().position(|(other, _)| other == name)?;
        let entry = self.open.remove(place);
        self.open.push(entry);
        self.open.last_mut().map(|(_, value)| value)
    }

    /// Takes out the value that must be closed before another is added, if any.
    pub fn make_room(&mut self) -> Option<(String, T)> {
        (self.open.len() >= self.limit).then(|| self.open.remove(0))
    }

    /// Adds a value that was not there, and gives it back for use.
    pub fn add(&mut self, name: &str, value: T) {
        self.open.push((name.to_owned(), value));
    }

    /// Takes out the value of this name.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let place = self.open.iter().position(|(other, _)| other == name)?;
        Some(self.open.remove(place).1)
    }

    /// The names of all values.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.open.iter().map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut recent = Recent::new(2);
        recent.add("a", 1);
        recent.add("b", 2);
        assert_eq!(recent.get("a"), Some(&mut 1));
        assert_eq!(recent.make_room(), Some(("b".to_owned(), 2)));
        recent.add("c", 3);
        assert_eq!(recent.names(), ["a", "c"]);
        assert_eq!((recent.remove("a"), recent.get("b")), (Some(1), None));
    }
}
