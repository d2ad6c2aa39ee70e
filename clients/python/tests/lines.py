"""All tests, a line for each: "ok NAME" or "FAIL NAME"."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)


class Lines(unittest.TestResult):
    def addSuccess(self, test):
        print("ok", test.id())

    def addFailure(self, test, err):
        super().addFailure(test, err)
        print(self.failures[-1][1])
        print("FAIL", test.id())

    def addError(self, test, err):
        super().addError(test, err)
        print(self.errors[-1][1])
        print("FAIL", test.id())

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            faults = self.failures + self.errors
            print(faults[-1][1])


result = Lines()
unittest.defaultTestLoader.discover(HERE).run(result)
sys.exit(0 if result.wasSuccessful() else 1)
