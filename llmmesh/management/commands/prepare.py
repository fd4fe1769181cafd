"""`manage.py prepare`: once before the parts of LLM Mesh start on their machines, and after each upgrade."""

from typing import Any

from django.core.management.base import BaseCommand

from llmmesh import first_run, preparation


class Command(BaseCommand):
    help = "Migrate the database, check the encryption keys, and create the first admin and API key."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        new = preparation.prepare(self.stdout.write)
        for line in first_run.hint(new):
            self.stdout.write(line)
