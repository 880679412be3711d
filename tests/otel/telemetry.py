"""An OpenTelemetry SDK whose exporters keep everything in memory."""

from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from openrouter_async.otel import OpenTelemetry
from openrouter_async.testing import completion, tool_call


class Telemetry:
    """An SDK with exporters in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.log_exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.loggers = LoggerProvider()
        self.loggers.add_log_record_processor(
            SimpleLogRecordProcessor(self.log_exporter)
        )

    def observer(self, **options: Any) -> OpenTelemetry:
        options = {"logger_provider": self.loggers, **options}
        return OpenTelemetry(self.provider, self.meters, **options)

    def events(self) -> list[Any]:
        return [log.log_record for log in self.log_exporter.get_finished_logs()]

    def spans(self, prefix: str = "chat") -> list[ReadableSpan]:
        finished = self.exporter.get_finished_spans()
        return [span for span in finished if span.name.startswith(prefix)]

    def span(self, prefix: str = "chat") -> ReadableSpan:
        (span,) = self.spans(prefix)
        return span

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: [*metric.data.data_points]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def call_of(name: str, arguments: Any) -> dict[str, Any]:
    return completion(tool_calls=[tool_call(name, arguments)])
