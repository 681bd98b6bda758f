"""Write the tables of config/README.md from the models of the configuration: python config/make_tables.py"""

from pathlib import Path

from neurocohort.study.reference import with_current_tables

README = Path(__file__).with_name("README.md")

if __name__ == "__main__":
    README.write_text(with_current_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
