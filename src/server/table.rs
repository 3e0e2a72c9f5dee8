//! Where a worker's connections are: a slab whose slots are used again.

use super::connection::Connection;

/// The connections of a worker by their number.
///
/// A slot that is freed is given out again only after [`Table::recycle`], so that an event of the
/// same batch that still names it finds it empty and not a stranger.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    freed: Vec<u32>,
}

impl Table {
    /// The number that the next connection gets.
    pub(super) fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    pub(super) fn insert(&mut self, connection: Connection) {
        match self.free.pop() {
            Some(number) => self.slots[number as usize] = Some(connection),
            None => self.slots.push(Some(connection)),
        }
    }

    pub(super) fn get(&mut self, number: u32) -> Option<&mut Connection> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Connection> {
        let connection = self.slots.get_mut(number as usize)?.take()?;
        self.freed.push(number);
        Some(connection)
    }

    /// Makes the slots of removed connections free.
    pub(super) fn recycle(&mut self) {
        self.free.append(&mut self.freed);
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.freed.len()
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|&i| self.slots[i as usize].is_some()).collect()
    }
}
