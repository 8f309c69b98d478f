"""What a verification found: sentences, and none when the solution stands."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """What verification found: failures as sentences, none when the solution stands."""

    failures: list = field(default_factory=list)

    @property
    def ok(self):
        return not self.failures

    def check(self, holds, sentence):
        if not holds:
            self.failures.append(sentence)
