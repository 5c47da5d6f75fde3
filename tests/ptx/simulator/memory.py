"""Device memory and the shared memory of a block, each with a shadow that knows what may be touched and by whom."""

import numpy as np

from .parse import SHARED_BASE
from .types import UNSIGNED, WARP, Fault

ALLOCATED, WRITTEN = 1, 2


class GlobalMemory:
    """Device memory: buffers with gaps between them.

    A load or store must be aligned to its size, lie inside a buffer, and a load must find bytes that something wrote.
    Within one launch no block may touch what another block writes, since blocks have no order.
    """

    BASE = 0x7F00_0000_0000
    ALIGNMENT = 256  # of every buffer, as the driver gives them
    GAP = 1024

    def __init__(self, size=4 << 20):
        self.size = size
        self.bytes = np.full(size, 0xFF, np.uint8)
        self.flags = np.zeros(size, np.uint8)
        self.writer = np.zeros(size, np.uint8)  # which block wrote it in this launch, 0 for none
        self.top = self.GAP
        self._data, self._flags, self._writer = (
            {n: self._elements(of, n) for n in (1, 2, 4, 8, 16)} for of in (self.bytes, self.flags, self.writer)
        )
        self._reads = []

    @staticmethod
    def _elements(array, size):
        """`array` as elements of `size` bytes; those of 16 are pairs."""
        return array.view(np.uint64).reshape(-1, 2) if size == 16 else array.view(UNSIGNED[size])

    @staticmethod
    def _repeated(byte, size):
        return UNSIGNED[min(size, 8)](byte * int("01" * min(size, 8), 16))

    def allocate(self, size, data=None):
        """A buffer of `size` bytes; its address."""
        at = self.top
        self.top = -(-(at + max(size, 1) + self.GAP) // self.ALIGNMENT) * self.ALIGNMENT
        if self.top + self.GAP > self.size:
            raise MemoryError(f"more than the {self.size} bytes of the interpreter's device memory")
        self.flags[at : at + size] = ALLOCATED
        if data is not None:
            self.write(self.BASE + at, data)
        return self.BASE + at

    def write(self, address, data):
        """What the host copies to the device."""
        data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        at = address - self.BASE
        self.bytes[at : at + len(data)] = data
        self.flags[at : at + len(data)] |= WRITTEN

    def read(self, address, size):
        """What the host copies back: all of it has to have been written."""
        at = address - self.BASE
        missing = np.count_nonzero(self.flags[at : at + size] & WRITTEN == 0)
        if missing:
            raise Fault(f"{missing} of {size} bytes of the result were never written")
        return self.bytes[at : at + size].tobytes()

    def _index(self, address, size, what):
        if (address & np.uint64(size - 1)).any():
            raise Fault(f"misaligned {what} of {size} bytes")
        at = address - np.uint64(self.BASE)
        if (at >= np.uint64(self.size)).any():
            raise Fault(f"{what} at {int(address[at >= np.uint64(self.size)][0]):#x}, outside of every buffer")
        return (at // np.uint64(size)).astype(np.int64)

    def load(self, address, size, block, noncoherent=False):
        """`size` bytes at each address, as unsigned numbers (pairs of them for 16 bytes)."""
        index = self._index(address, size, "load")
        flags = self._flags[size][index]
        if (flags != self._repeated(ALLOCATED | WRITTEN, size)).any():
            if (flags & self._repeated(ALLOCATED, size) != self._repeated(ALLOCATED, size)).any():
                raise Fault(f"load of {size} bytes outside of every buffer")
            raise Fault("load of memory that nothing has written")
        self._reads.append((index, size, block, noncoherent))
        return self._data[size][index]

    def peek(self, address, size):
        """What an atomic instruction finds, which is ordered with those of other blocks."""
        reads = len(self._reads)
        found = self.load(address, size, 0)
        del self._reads[reads:]
        return found

    def store(self, address, size, value, block, atomic=False):
        """Stores `value`, as `load` gives it."""
        index = self._index(address, size, "store")
        allocated = self._repeated(ALLOCATED, size)
        if (self._flags[size][index] & allocated != allocated).any():
            raise Fault(f"store of {size} bytes outside of every buffer")
        if not atomic:
            before = self._writer[size][index]
            if before.any():
                of_bytes = np.ascontiguousarray(before).view(np.uint8)
                if ((of_bytes != 0) & (of_bytes != self._tag(block))).any():
                    raise Fault("two blocks of a launch write the same memory")
            self._writer[size][index] = self._repeated(self._tag(block), size)
        self._data[size][index] = value
        self._flags[size][index] = self._repeated(ALLOCATED | WRITTEN, size)
        if (self._data[size][index] != value).any():
            raise Fault("two threads store different values at one address")

    @staticmethod
    def _tag(block):
        return 1 + block % 251

    def begin_launch(self):
        """Nothing has been loaded or stored by the launch yet."""
        self.writer[: self.top] = 0
        self._reads = []

    def end_launch(self):
        """Loads against the stores of other blocks, whichever of the two the interpreter ran first."""
        for index, size, block, noncoherent in self._reads:
            writer = self._writer[size][index]
            if writer.any():
                of_bytes = np.ascontiguousarray(writer).view(np.uint8)
                if noncoherent:
                    raise Fault("a load through the read-only path (.nc) of what the same launch writes")
                if ((of_bytes != 0) & (of_bytes != self._tag(block))).any():
                    raise Fault("a block loads what another block of the same launch writes")
        self._reads = []


class SharedMemory:
    """Shared memory of one block, with a shadow for every two bytes.

    Two threads may not touch the same bytes, one of them writing, without a barrier between: bar.sync between warps,
    at least bar.warp.sync inside of one. Bytes that cp.async is under way to may not be touched at all.
    """

    IS_WRITTEN, PENDING, UNFENCED = 1, 2, 4
    SYNCED = 4096  # a writer's tag is its thread + 1, or this + its warp behind a bar.warp.sync
    MANY = 0xFFFF  # a reader's tag is its warp + 1, or this

    def __init__(self, size, threads):
        self.size = size  # beyond the static and dynamic memory that the launch asked for
        granules = -(-size // 16) * 8
        self.words = np.empty(granules, np.uint16)
        self.state, self.writer, self.reader = (np.zeros(granules, kind) for kind in (np.uint8, np.uint16, np.uint16))
        self.own = np.arange(1, threads + 1, dtype=np.uint16)
        self.warp = (np.arange(threads) // WARP).astype(np.uint16)
        self.clear()

    def clear(self):
        """As a new block finds it: with anything in it."""
        self.words[:] = 0xFFFF
        for shadow in (self.state, self.writer, self.reader):
            shadow[:] = 0

    def granules(self, address, size, what, alignment=None):
        """The indices of the two-byte granules of each access."""
        address = address.astype(np.int64)
        if size % 2:
            raise Fault(f"{what} of {size} bytes, which the shadow of shared memory does not tell apart")
        if (address % (alignment or size)).any():
            raise Fault(f"misaligned {what} of {size} bytes in shared memory")
        if (address < SHARED_BASE).any() or (address + size > self.size).any():
            beyond = int((address + size).max()) - SHARED_BASE
            raise Fault(f"{what} in shared memory up to byte {beyond} of the block's {self.size - SHARED_BASE}")
        return (address >> 1)[:, None] + np.arange(size // 2)

    def load(self, address, size, threads, alignment=None, what="load"):
        """Rows of 16-bit words."""
        at = self.granules(address, size, what, alignment)
        state = self.state[at]
        if (state & self.PENDING).any():
            raise Fault(f"{what} of shared memory that cp.async is under way to")
        if not (state & self.IS_WRITTEN).all():
            raise Fault(f"{what} of shared memory that nothing has written")
        self._check_writer(at, threads, what)
        warp = np.broadcast_to(self.warp[threads][:, None] + np.uint16(1), at.shape)
        before = self.reader[at]
        now = np.where((before == 0) | (before == warp), warp, np.uint16(self.MANY))
        self.reader[at] = now
        # Where two warps read the same in one instruction, one of the two tags was lost.
        lost = self.reader[at] != now
        if lost.any():
            self.reader[at[lost]] = self.MANY
        return self.words[at]

    def store(self, address, size, words, threads):
        """Stores rows of 16-bit words."""
        at = self.granules(address, size, "store")
        self.check_free(at, threads, "store")
        self.words[at] = words
        if (self.words[at] != words).any():
            raise Fault("two threads store different values at one address of shared memory")
        self.state[at] = self.IS_WRITTEN | self.UNFENCED
        self.writer[at] = self.own[threads][:, None]

    def _check_writer(self, at, threads, what):
        writer = self.writer[at]
        if not writer.any():
            return
        own = (writer == 0) | (writer == self.own[threads][:, None])
        if not (own | (writer == self.warp[threads][:, None] + np.uint16(self.SYNCED))).all():
            raise Fault(f"race: {what} of shared memory that another thread wrote, and no barrier between")

    def check_free(self, at, threads, what):
        """That the threads may write there: nobody else wrote or read it since the last barrier."""
        if (self.state[at] & self.PENDING).any():
            raise Fault(f"{what} to shared memory that cp.async is under way to")
        self._check_writer(at, threads, what)
        reader = self.reader[at]
        if ((reader != 0) & (reader != self.warp[threads][:, None] + np.uint16(1))).any():
            raise Fault(f"race: {what} over shared memory that another warp read, and no barrier between")

    def begin_copy(self, at):
        """cp.async is under way to these granules."""
        self.state[at] = (self.state[at] | self.PENDING) & ~np.uint8(self.IS_WRITTEN)

    def end_copy(self, at, words, thread):
        """A copy has landed: its thread may read it, others behind a barrier."""
        self.words[at] = words
        self.state[at] = self.IS_WRITTEN | self.UNFENCED
        self.writer[at] = self.own[thread]

    def barrier(self):
        """bar.sync by the whole block."""
        self.writer[:] = 0
        self.reader[:] = 0

    def warp_barrier(self, warps):
        """bar.warp.sync: inside these warps, what was written is seen."""
        thread = (self.writer > 0) & (self.writer < self.SYNCED)
        warp = (self.writer - np.uint16(1)) // WARP
        for one in warps:
            self.writer[thread & (warp == one)] = self.SYNCED + one

    def fence_async_proxy(self, threads):
        """fence.proxy.async: the threads' own writes, and all that a barrier has shown them, reach the async proxy."""
        covered = (self.writer == 0) | np.isin(self.writer, self.own[threads])
        self.state[covered] &= ~np.uint8(self.UNFENCED)
