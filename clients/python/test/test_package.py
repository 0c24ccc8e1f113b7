"""The package as it is published, in a directory of its own: it has all that it needs, and the README's example runs with it."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

from support import HERE, ConsumerTest, execute, value, wait_until

CLIENT = os.path.dirname(HERE)
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def block(language):
    """The first block of the README in this language."""
    return read(CLIENT, "README.md").split(f"\n```{language}\n")[1].split("\n```\n")[0]


class Package(ConsumerTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def build(self):
        """Builds the wheel, as pip does, and returns the directory into which it is installed."""
        source, site = os.path.join(self.directory, "source"), os.path.join(self.directory, "site")
        # A build writes into the directory of the sources.
        shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("test", "__pycache__"))
        # Debian's packages are for Debian's Python.
        there = [sys.executable, "-c", "import setuptools, wheel"]
        if subprocess.run(there, capture_output=True).returncode != 0:
            there[0] = "/usr/bin/python3"
        build = [there[0], "-c", BUILD, self.directory]
        output = subprocess.run(build, cwd=source, capture_output=True, text=True, check=True).stdout
        name = output.splitlines()[-1]
        self.assertEqual(name, f"pm_consumer-{self.version()}-py3-none-any.whl")
        with zipfile.ZipFile(os.path.join(self.directory, name)) as wheel:
            wheel.extractall(site)
        return site

    @staticmethod
    def version():
        return read(CLIENT, "pm_consumer", "_version.py").split('"')[1]

    def test_package(self):
        site = self.build()
        there = [name for name in os.listdir(os.path.join(CLIENT, "pm_consumer")) if name != "__pycache__"]
        self.assertEqual(sorted(os.listdir(os.path.join(site, "pm_consumer"))), sorted(there))
        info = os.path.join(site, f"pm_consumer-{self.version()}.dist-info")
        self.assertEqual(read(info, "LICENSE"), read(os.environ["PM_TEST_ROOT"], "LICENSE"))
        self.assertIn("\nRequires-Dist: psycopg", read(info, "METADATA"))

        execute(
            "CREATE ROLE billing_app LOGIN; GRANT USAGE ON SCHEMA pm TO billing_app;"
            "CREATE TABLE invoice (order_id text, amount int); GRANT INSERT ON invoice TO billing_app;" + block("sql")
        )
        execute("SELECT pm.append('orders', 'order-1', 'placed', '{\"amount\": 20}')")
        dsn = "host={PGHOST} dbname={PGDATABASE} user=billing_app".format(**os.environ)
        example = block("python").replace("host=db dbname=shop user=billing_app", dsn)
        self.assertIn(dsn, example)
        environment = {**os.environ, "PYTHONPATH": site}
        program = subprocess.Popen([sys.executable, "-c", example], cwd=self.directory, env=environment)
        try:
            wait_until(lambda: value("SELECT count(*) FROM pm.timer WHERE type = 'overdue'") == 1)
        finally:
            program.terminate()
            code = program.wait(60)
        self.assertEqual(code, 0)
        self.assertEqual(execute("SELECT * FROM invoice"), [("order-1", 20)])
        self.assertEqual(execute("SELECT key, state FROM pm.instance"), [("order-1", {"reminders": 0})])


if __name__ == "__main__":
    unittest.main()
