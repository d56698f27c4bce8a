import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StartedEvent;
import com.launchdarkly.eventsource.StreamEvent;
import java.net.URI;

/** Reads with okhttp-eventsource, which connects again by itself, with the last id. */
final class LaunchDarkly {
    public static void main(String[] arguments) throws Exception {
        EventSource.Builder builder = new EventSource.Builder(URI.create(arguments[0]));
        try (EventSource source = builder.errorStrategy(ErrorStrategy.alwaysContinue()).build()) {
            while (true) {
                StreamEvent event = source.readAnyEvent();
                if (event instanceof StartedEvent) {
                    Protocol.open();
                } else if (event instanceof MessageEvent message) {
                    Protocol.event(message.getEventName(), message.getData(), message.getLastEventId());
                } else if (event instanceof FaultEvent fault) {
                    Protocol.fault(fault.getCause());
                }
            }
        }
    }
}
