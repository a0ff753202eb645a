"""The console of a run, as a Snakemake logger plugin: `logger: galley` in a profile, or `--logger galley`.

Snakemake imports this file whenever it starts, used or not, so all else is imported by the first record. Its own log file in
.snakemake/log is another handler's and keeps everything.

Interface: snakemake-interface-logger-plugins 2.1. Source: ours.
"""

from __future__ import annotations

from functools import cached_property
from logging import LogRecord
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase

if TYPE_CHECKING:
    from snakemake_logger_plugin_galley.console import Console


class LogHandler(LogHandlerBase):
    """Hands every record to the console; called by one thread, the listener of Snakemake's queue."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True  # jobs are to be known even where `--quiet` hides them
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Refuse a storage that cannot be made: Snakemake makes it next, before any file of ours is read, and its error is a traceback."""
        import sys

        from galley.cluster import settings_fault

        wrong = settings_fault(sys.argv[1:])
        if wrong:
            from galley.seen import say, visible

            say(f"error: {visible(wrong)}", err=True)
            raise SystemExit(2)

    @cached_property
    def console(self) -> Console:
        """The console, made when something is to be said."""
        from snakemake_logger_plugin_galley.console import Console

        return Console(self.common_settings)

    def emit(self, record: LogRecord) -> None:
        """Show a record."""
        self.console.handle(record)

    def close(self) -> None:
        """End the console with its summary."""
        if "console" in self.__dict__:
            self.console.close()
        super().close()
