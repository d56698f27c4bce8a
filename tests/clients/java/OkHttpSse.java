import java.util.concurrent.CountDownLatch;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** Reads one stream after another with okhttp-sse: the application keeps the id and connects again. */
final class OkHttpSse extends EventSourceListener {
    private static String lastId = "";
    private final CountDownLatch end = new CountDownLatch(1);

    public static void main(String[] arguments) throws InterruptedException {
        EventSource.Factory factory = EventSources.createFactory(new OkHttpClient());
        while (true) {
            OkHttpSse listener = new OkHttpSse();
            Request request = new Request.Builder().url(arguments[0]).header("Last-Event-ID", lastId).build();
            factory.newEventSource(request, listener);
            listener.end.await();
            Thread.sleep(Protocol.RECONNECT_MILLIS);
        }
    }

    @Override
    public void onOpen(EventSource source, Response response) {
        Protocol.open();
    }

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        if (id != null) lastId = id;
        Protocol.event(type, data, id);
    }

    @Override
    public void onClosed(EventSource source) {
        end.countDown();
    }

    @Override
    public void onFailure(EventSource source, Throwable error, Response response) {
        Protocol.fault(error);
        end.countDown();
    }
}
