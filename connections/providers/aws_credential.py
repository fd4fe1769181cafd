"""AWS keys that several connections share. It has no models: it lends what it holds."""

from typing import ClassVar

from connections.providers import aws_problems
from connections.providers.aws import AwsKeySettings, AwsProvider
from connections.providers.aws_keys import sts
from connections.providers.calls import Answer, Mode, Outgoing
from connections.providers.errors import ProviderError
from connections.providers.parameters import ParameterTable


class AwsCredential(AwsProvider):
    kind = "aws_credential"
    label = "AWS credential"
    summary = "Keys or a role that Bedrock, SageMaker and other connections share."
    mark = "aws"
    order = 95
    group = "hosted"
    docs_url = "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html"
    service = "sts"
    modes: ClassVar[frozenset[Mode]] = frozenset()
    parameters = ParameterTable({})
    checks_by_post = True

    class Settings(AwsKeySettings):
        pass

    def problem(self, answer: Answer) -> ProviderError:
        return aws_problems.named(answer, self.secrets())

    def check(self) -> Outgoing:
        """Whoever has keys may ask whose they are."""
        return sts(self.sts_address, "GetCallerIdentity")
