"""Unpacks msgpack; small and slow, so that the tests need no package."""
import struct

FORMS = {0xca: ">f", 0xcb: ">d", 0xcc: ">B", 0xcd: ">H", 0xce: ">I",
         0xcf: ">Q", 0xd0: ">b", 0xd1: ">h", 0xd2: ">i", 0xd3: ">q"}
SIZES = {0xc4: ">B", 0xc5: ">H", 0xc6: ">I", 0xc7: ">B", 0xc8: ">H",
         0xc9: ">I", 0xd9: ">B", 0xda: ">H", 0xdb: ">I", 0xdc: ">H",
         0xdd: ">I", 0xde: ">H", 0xdf: ">I"}


class More(Exception):
    pass


class Unpacker:
    def __init__(self):
        self.data = b""
        self.at = 0

    def feed(self, data):
        """The whole values that there are now."""
        self.data = self.data[self.at:] + data
        self.at = 0
        found = []
        while self.at < len(self.data):
            start = self.at
            try:
                found.append(self.value())
            except More:
                self.at = start
                break
        return found

    def take(self, n):
        if len(self.data) - self.at < n:
            raise More
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        b = self.take(1)[0]
        if b < 0x80:
            return b
        if b >= 0xe0:
            return b - 256
        if b in (0xc0, 0xc2, 0xc3):
            return {0xc0: None, 0xc2: False, 0xc3: True}[b]
        if b in FORMS:
            return self.number(FORMS[b])
        if 0xd4 <= b <= 0xd8:
            code = self.number(">b")
            return ("ext", code, self.take(1 << (b - 0xd4)))
        if b < 0x90:
            return self.map(b & 15)
        if b < 0xa0:
            return [self.value() for _ in range(b & 15)]
        if b < 0xc0:
            return self.take(b & 31).decode()
        size = self.number(SIZES[b])
        if b >= 0xde:
            return self.map(size)
        if b >= 0xdc:
            return [self.value() for _ in range(size)]
        if b >= 0xd9:
            return self.take(size).decode()
        if b >= 0xc7:
            code = self.number(">b")
            return ("ext", code, self.take(size))
        return self.take(size)

    def map(self, n):
        found = {}
        for _ in range(n):
            key = self.value()
            found[key] = self.value()
        return found
