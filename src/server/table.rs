//! A slab: objects by number, whose numbers are reused.

/// Objects by number.
///
/// A free number is reused only after [`Table::recycle`]. So an event of the same batch that still
/// has the old number finds nothing, and not another object.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    freed: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), freed: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Adds an object. Returns its number.
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[number as usize] = Some(thing);
        number
    }

    pub(super) fn get(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let thing = self.slots.get_mut(number as usize)?.take()?;
        self.freed.push(number);
        Some(thing)
    }

    /// Makes the numbers of removed objects free.
    pub(super) fn recycle(&mut self) {
        self.free.append(&mut self.freed);
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.freed.len()
    }

    /// All numbers are below this one.
    pub(super) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|&i| self.slots[i as usize].is_some()).collect()
    }
}
